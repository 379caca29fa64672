import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { AnySchema, type Any } from '@bufbuild/protobuf/wkt';
import { BlobDigestSchema } from '@drover/lease-protocol';
import { digestFromWire, digestOfBytes, digestToWire, type ContentStore, type Digest } from '@drover/content-store';
import { payloadTypeOf, type LeaseDraft } from '@drover/lease-kit';

/** Payloads above this many bytes leave the lease's row for the content store: 64 KiB. */
export const inlinePayloadBytesMax = 64 * 1024;

/** How long a blob stays pinned for a lease whose end nobody unpinned: 90 days. */
export const payloadPinMs = 90 * 24 * 3_600_000;

/**
 * Where the name of a referenced message stands in a type URL. The last part of a type URL names the message and everything
 * in front of it is free (google/protobuf/any.proto); so a reference keeps the name, by which leases are matched.
 */
const referencePrefix = 'blob.drover.invalid/';

/** An Any that stands for the serialized Any in the content store. */
export function payloadReference(payloadType: string, digest: Digest): Any {
  const message = create(BlobDigestSchema, digestToWire(digest));
  return create(AnySchema, {
    typeUrl: `${referencePrefix}${payloadType}`,
    value: toBinary(BlobDigestSchema, message),
  });
}

/** The digest that an Any stands for, or undefined for one that holds its message itself. */
export function referencedDigest(payload: Any): Digest | undefined {
  if (!payload.typeUrl.startsWith(referencePrefix)) return undefined;
  return digestFromWire(fromBinary(BlobDigestSchema, payload.value));
}

/**
 * The same draft, with a payload above {@link inlinePayloadBytesMax} put into the content store and replaced by a
 * reference to it. `digest` says what was stored, for pinning.
 */
export async function withReferencedPayload<Draft extends Pick<LeaseDraft, 'payload'>>(
  draft: Draft,
  blobs: Pick<ContentStore, 'write'>,
  signal?: AbortSignal,
): Promise<{ readonly draft: Draft; readonly digest?: Digest }> {
  if (draft.payload.value.byteLength <= inlinePayloadBytesMax) return { draft };
  const bytes = toBinary(AnySchema, draft.payload);
  const digest = digestOfBytes(bytes);
  await blobs.write(digest, bytes, signal === undefined ? {} : { signal });
  return { draft: { ...draft, payload: payloadReference(payloadTypeOf(draft.payload), digest) }, digest };
}

/** The Any that a reference stands for; one that is no reference stays itself. Throws what the content store throws. */
export async function resolvePayload(
  payload: Any,
  blobs: Pick<ContentStore, 'read'>,
  signal?: AbortSignal,
): Promise<Any> {
  const digest = referencedDigest(payload);
  if (digest === undefined) return payload;
  const bytes = new Uint8Array(digest.sizeBytes);
  let size = 0;
  for await (const chunk of blobs.read(digest, signal === undefined ? {} : { signal })) {
    bytes.set(chunk, size);
    size += chunk.byteLength;
  }
  return fromBinary(AnySchema, bytes);
}

/** Who pins the blobs that a lease's payload needs. */
export function leasePinOwner(leaseId: string): string {
  return `lease:${leaseId}`;
}
