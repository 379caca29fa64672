import { create } from '@bufbuild/protobuf';
import { checkDigest, type Digest } from '@drover/content-store';
import { BlobDigestSchema, type BlobDigest } from '@drover/lease-protocol';

/** A digest as a message. */
export function digestOnWire(digest: Digest): BlobDigest {
  return create(BlobDigestSchema, { hash: digest.hash, sizeBytes: BigInt(digest.sizeBytes) });
}

/** A digest from a message. Throws DIGEST_INVALID. */
export function digestFromWire(message: BlobDigest): Digest {
  const digest = { hash: message.hash, sizeBytes: Number(message.sizeBytes) };
  checkDigest(digest);
  return digest;
}
