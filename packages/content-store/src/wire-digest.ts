import { checkDigest, type Digest } from './digest.ts';

/**
 * A digest as messages have it: the fields of Drover's `BlobDigest` and of the Remote Execution API's `Digest`, which may be
 * given where either is initialized.
 */
export interface WireDigest {
  hash: string;
  sizeBytes: bigint;
}

/** A digest as a message has it. */
export function digestToWire(digest: Digest): WireDigest {
  return { hash: digest.hash, sizeBytes: BigInt(digest.sizeBytes) };
}

/** A digest from a message. Throws `DIGEST_INVALID`. */
export function digestFromWire(wire: Readonly<WireDigest>): Digest {
  return checkDigest({ hash: wire.hash, sizeBytes: Number(wire.sizeBytes) });
}
