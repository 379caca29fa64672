import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { AnySchema, type Any } from '@bufbuild/protobuf/wkt';
import { BlobDigestSchema } from '@drover/lease-protocol';
import { digestFromWire, digestOfBytes, digestToWire, type ContentStore, type Digest } from '@drover/content-store';
import { DroverError, payloadTypeOf, type LeaseDraft } from '@drover/lease-kit';

/** Payloads above this many bytes leave the lease's row for the content store: 64 KiB. */
export const inlinePayloadBytesMax = 64 * 1024;

/** No message that crosses the wire is larger. */
const referencedBytesMax = 64 * 1024 * 1024;

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

/** True for an Any that stands for another one: only servers write those, so that one from elsewhere is to be refused. */
export function isPayloadReference(payload: Pick<Any, 'typeUrl'>): boolean {
  return payload.typeUrl.startsWith(referencePrefix);
}

/** The digest that an Any stands for, or undefined for one that holds its message itself. */
export function referencedDigest(payload: Any): Digest | undefined {
  if (!isPayloadReference(payload)) return undefined;
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

/**
 * The Any that a reference stands for; one that is no reference stays itself. Throws `PAYLOAD_REFERENCE_INVALID` for one that
 * is too large or of another type than the reference says, and what the content store throws.
 */
export async function resolvePayload(
  payload: Any,
  blobs: Pick<ContentStore, 'read'>,
  signal?: AbortSignal,
): Promise<Any> {
  const digest = referencedDigest(payload);
  if (digest === undefined) return payload;
  // An agent may have said it, of an output.
  if (digest.sizeBytes > referencedBytesMax) throw referenceInvalid(`${digest.sizeBytes} bytes`);
  const bytes = new Uint8Array(digest.sizeBytes);
  let size = 0;
  for await (const chunk of blobs.read(digest, signal === undefined ? {} : { signal })) {
    bytes.set(chunk, size);
    size += chunk.byteLength;
  }
  const resolved = fromBinary(AnySchema, bytes);
  if (payloadTypeOf(resolved) !== payloadTypeOf(payload)) throw referenceInvalid('another type than it says');
  return resolved;
}

function referenceInvalid(problem: string): DroverError {
  return new DroverError({
    code: 'PAYLOAD_REFERENCE_INVALID',
    advice: 'fix-input',
    message: `the reference leads to ${problem}; allowed: a message of its own type of at most ${referencedBytesMax} bytes`,
  });
}

/** Who pins the blobs that a lease's payload needs. */
export function leasePinOwner(leaseId: string): string {
  return `lease:${leaseId}`;
}
