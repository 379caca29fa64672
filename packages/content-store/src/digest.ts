import { createHash } from 'node:crypto';
import { digestInvalid } from './content-errors.ts';

/**
 * Names a blob by its bytes: the digest of the Remote Execution API v2 with its SHA256 function. Two blobs with the same
 * digest are the same blob.
 */
export interface Digest {
  /** SHA-256, 64 lower case hexadecimal digits. */
  readonly hash: string;
  /** Length of the blob in bytes, a safe integer of at least 0. */
  readonly sizeBytes: number;
}

/** Computes a {@link Digest} piece by piece. */
export interface DigestHasher {
  /** Bytes seen so far. */
  readonly sizeBytes: number;
  update(chunk: Uint8Array): void;
  /** The digest of everything seen. The hasher can't be used afterwards. */
  digest(): Digest;
}

const hashPattern = /^[0-9a-f]{64}$/;

/** A hasher that has seen nothing. */
export function createDigestHasher(): DigestHasher {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  return {
    get sizeBytes() {
      return sizeBytes;
    },
    update(chunk) {
      hash.update(chunk);
      sizeBytes += chunk.byteLength;
    },
    digest: () => ({ hash: hash.digest('hex'), sizeBytes }),
  };
}

/** The digest of `bytes`. */
export function digestOfBytes(bytes: Uint8Array): Digest {
  return { hash: createHash('sha256').update(bytes).digest('hex'), sizeBytes: bytes.byteLength };
}

/** The digest of everything that `source` yields; rejects with whatever the source throws. */
export async function digestOfStream(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Digest> {
  const hasher = createDigestHasher();
  for await (const chunk of source) hasher.update(chunk);
  return hasher.digest();
}

/** The digest of the blob of length 0, which every store has without being given it. */
export const emptyDigest: Digest = digestOfBytes(new Uint8Array(0));

/** True for {@link emptyDigest}. */
export function isEmptyDigest(digest: Digest): boolean {
  return digest.sizeBytes === 0 && digest.hash === emptyDigest.hash;
}

/** `hash/sizeBytes`: the form of resource names, also good as a map key. */
export function formatDigest(digest: Digest): string {
  return `${digest.hash}/${digest.sizeBytes}`;
}

/** Reads what {@link formatDigest} writes. Throws `DIGEST_INVALID`. */
export function parseDigest(text: string): Digest {
  const slash = text.indexOf('/');
  const sizeText = text.slice(slash + 1);
  if (slash < 0 || !/^(0|[1-9][0-9]*)$/.test(sizeText)) throw digestInvalid(text);
  return checkDigest({ hash: text.slice(0, slash), sizeBytes: Number(sizeText) });
}

/** Returns `digest` if it is well formed. Throws `DIGEST_INVALID`. */
export function checkDigest(digest: Digest): Digest {
  if (!hashPattern.test(digest.hash) || !Number.isSafeInteger(digest.sizeBytes) || digest.sizeBytes < 0) {
    throw digestInvalid(formatDigest(digest));
  }
  return digest;
}

/** True if both name the same blob. */
export function digestEquals(a: Digest, b: Digest): boolean {
  return a.hash === b.hash && a.sizeBytes === b.sizeBytes;
}

/** `digests` without repetitions, in the order of their first appearance. Throws `DIGEST_INVALID`. */
export function uniqueDigests(digests: readonly Digest[]): Digest[] {
  return [...new Map(digests.map((digest) => [formatDigest(checkDigest(digest)), digest])).values()];
}
