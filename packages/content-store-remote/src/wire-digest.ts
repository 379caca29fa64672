import { checkDigest, type Digest } from '@drover/content-store';

/** A digest as a message. */
export function digestToWire(digest: Digest): { hash: string; sizeBytes: bigint } {
  return { hash: digest.hash, sizeBytes: BigInt(digest.sizeBytes) };
}

/** A digest from a message. Throws `DIGEST_INVALID`. */
export function digestFromWire(wire: { readonly hash: string; readonly sizeBytes: bigint }): Digest {
  return checkDigest({ hash: wire.hash, sizeBytes: Number(wire.sizeBytes) });
}
