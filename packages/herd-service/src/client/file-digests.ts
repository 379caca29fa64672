import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createDigestHasher, type Digest } from '@drover/content-store';
import { z } from 'zod';
import { filePieces } from './file-pieces.ts';

const entriesMax = 50_000;
/** A file that was written so shortly before it was hashed may be written again without a new time. */
const settledMs = 2_000;

const keptSchema = z.array(
  z.tuple([z.string(), z.string(), z.string().regex(/^[0-9a-f]{64}$/), z.int().min(0)]).readonly(),
);

interface Known {
  /** Size, time of change and number of the file. */
  readonly state: string;
  readonly digest: Digest;
}

/**
 * Digests of files, each hashed once for as long as its size, its times and its inode stay as they are. Kept in a file of the
 * user's, if one is given; one that cannot be read counts as empty.
 */
export class FileDigests {
  readonly #known = new Map<string, Known>();
  readonly #file: string | undefined;
  /** Being hashed, or hashed too shortly after a change to be kept for longer than this object lives. */
  readonly #fresh = new Map<string, { readonly state: string; readonly digest: Promise<Digest> }>();
  #isChanged = false;

  private constructor(file: string | undefined) {
    this.#file = file;
  }

  /** Reads what is kept. Without a file, nothing is. */
  static async open(file?: string): Promise<FileDigests> {
    const digests = new FileDigests(file);
    if (file === undefined) return digests;
    try {
      const kept = keptSchema.parse(JSON.parse(await readFile(file, 'utf8')));
      for (const [path, state, hash, sizeBytes] of kept)
        digests.#known.set(path, { state, digest: { hash, sizeBytes } });
    } catch {
      // Hashing again is all that it costs.
    }
    return digests;
  }

  /** The digest of a file; reads it if it has changed. */
  async digestOf(path: string, signal: AbortSignal): Promise<Digest> {
    const info = await stat(path, { bigint: true });
    const state = `${info.size} ${info.mtimeNs} ${info.ctimeNs} ${info.ino}`;
    const known = this.#known.get(path);
    if (known?.state === state) {
      // The youngest stand last.
      this.#known.delete(path);
      this.#known.set(path, known);
      return known.digest;
    }
    const fresh = this.#fresh.get(path);
    if (fresh?.state === state) return await abortable(fresh.digest, signal);
    const hashing = { state, digest: hash(path, Number(info.size)) };
    if (this.#fresh.size >= entriesMax) this.#fresh.clear();
    this.#fresh.set(path, hashing);
    try {
      const digest = await abortable(hashing.digest, signal);
      this.#known.delete(path);
      if (Date.now() - Number(info.ctimeMs) < settledMs) return digest;
      this.#known.set(path, { state, digest });
      this.#isChanged = true;
      this.#forget(path, hashing);
      return digest;
    } catch (error) {
      this.#forget(path, hashing);
      throw error;
    }
  }

  #forget(path: string, hashing: object): void {
    if (this.#fresh.get(path) === hashing) this.#fresh.delete(path);
  }

  /** Writes what is known to the file, whole. A failure is none: it costs hashing again. */
  async keep(): Promise<void> {
    if (this.#file === undefined || !this.#isChanged) return;
    const kept = [...this.#known].slice(-entriesMax);
    const temporary = `${this.#file}.${process.pid}.part`;
    try {
      await mkdir(dirname(this.#file), { recursive: true, mode: 0o700 });
      const rows = kept.map(([path, { state, digest }]) => [path, state, digest.hash, digest.sizeBytes]);
      await writeFile(temporary, JSON.stringify(rows), { mode: 0o600 });
      await rename(temporary, this.#file);
      this.#isChanged = false;
    } catch {
      await rm(temporary, { force: true }).catch(() => undefined);
    }
  }
}

async function hash(path: string, sizeBytes: number): Promise<Digest> {
  const hasher = createDigestHasher();
  for await (const piece of filePieces(path, sizeBytes)) hasher.update(piece);
  return hasher.digest();
}

/** Others may wait for the same: whoever gives up goes alone. */
function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
