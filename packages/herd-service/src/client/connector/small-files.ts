import { digestEquals, digestMismatch, digestOfBytes, formatDigest, type Digest } from '@drover/content-store';
import { filePieces } from '../file-pieces.ts';

const keptBytesMax = 32 * 1024 * 1024;

interface Kept {
  readonly bytes: Promise<Uint8Array>;
  readonly sizeBytes: number;
}

/** Small files that several agents are sent at about the same time: each is read and checked once, and kept while there is room. */
export class SmallFiles {
  readonly #kept = new Map<string, Kept>();
  #keptBytes = 0;

  /** The bytes of a file that has this digest; nobody may change them. Throws `DIGEST_MISMATCH`, and what the file system says. */
  read(path: string, digest: Digest): Promise<Uint8Array> {
    const key = formatDigest(digest);
    const kept = this.#kept.get(key);
    if (kept !== undefined) return kept.bytes;
    const reading: Kept = { bytes: readWhole(path, digest), sizeBytes: digest.sizeBytes };
    this.#kept.set(key, reading);
    this.#keptBytes += digest.sizeBytes;
    for (const [oldest, { sizeBytes }] of this.#kept) {
      if (this.#keptBytes <= keptBytesMax) break;
      this.#kept.delete(oldest);
      this.#keptBytes -= sizeBytes;
    }
    reading.bytes.catch(() => {
      if (this.#kept.get(key) !== reading) return;
      this.#kept.delete(key);
      this.#keptBytes -= digest.sizeBytes;
    });
    return reading.bytes;
  }

  /** Keeps nothing of what it has. */
  clear(): void {
    this.#kept.clear();
    this.#keptBytes = 0;
  }
}

async function readWhole(path: string, digest: Digest): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(digest.sizeBytes);
  let at = 0;
  for await (const piece of filePieces(path, digest.sizeBytes)) {
    const after = at + piece.length;
    if (after > digest.sizeBytes) throw digestMismatch(digest, { sizeBytes: after });
    bytes.set(piece, at);
    at = after;
  }
  const actual = digestOfBytes(bytes.subarray(0, at));
  if (!digestEquals(actual, digest)) throw digestMismatch(digest, actual);
  return bytes;
}
