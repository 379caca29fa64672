import { byteRange, blobNotFound, type Digest, type ReadOptions } from '@drover/content-store';
import type { Clock } from '@drover/lease-kit';
import { copyFileSync, readdirSync, statSync, type Stats } from 'node:fs';
import {
  copyFile,
  constants,
  link,
  lstat,
  open,
  readdir,
  rename,
  rm,
  stat,
  unlink,
  utimes,
  type FileHandle,
} from 'node:fs/promises';
import { join } from 'node:path';
import { blobName, errorCode, nullIfAbsent, type DiskLayout } from './disk-layout.ts';

/** A blob as a scan of the folder found it. */
export interface FoundBlob {
  readonly name: string;
  readonly sizeBytes: number;
  readonly usedMs: number;
  readonly isPinned: boolean;
}

const readChunkBytes = 256 * 1024;
/** Up to this size a copy takes less than handing it to another thread does. */
const copiedNowBytesMax = 128 * 1024;
const blobNamePattern = /^[0-9a-f]{64}-[0-9]+$/;
/** A blob that was put aside this long ago was left by a crash; a removal takes far less than a second. */
const trashLeftoverMs = 60_000;

/** The blobs themselves: looked for, read, listed, removed. */
export class DiskBlobs {
  readonly #layout: DiskLayout;
  readonly #clock: Clock;
  readonly #accessResolutionMs: number;

  constructor(layout: DiskLayout, clock: Clock, accessResolutionMs: number) {
    this.#layout = layout;
    this.#clock = clock;
    this.#accessResolutionMs = accessResolutionMs;
  }

  /** Whether a blob is there; renews it if so. */
  async has(digest: Digest): Promise<boolean> {
    const path = this.#layout.blob(digest);
    const found = statNow(path) ?? (await this.#whileRemoved(digest, async () => statNow(path)));
    if (found === null || !(await this.#isWhole(found, digest))) return false;
    if (this.#isStale(found)) {
      const now = this.#clock.wallMs() / 1000;
      await utimes(path, now, now).catch(nullIfAbsent);
    }
    return true;
  }

  /** As the port says it. A removal meanwhile does no harm: the open file keeps the bytes. */
  async *read(digest: Digest, options: ReadOptions): AsyncGenerator<Uint8Array> {
    const { signal } = options;
    const { start, end } = byteRange(digest, options);
    const path = this.#layout.blob(digest);
    const handle =
      (await open(path, 'r').catch(nullIfAbsent)) ?? (await this.#whileRemoved(digest, () => open(path, 'r')));
    if (handle === null) throw blobNotFound(digest);
    try {
      const found = await handle.stat();
      if (!(await this.#isWhole(found, digest))) throw blobNotFound(digest);
      if (this.#isStale(found)) {
        const now = this.#clock.wallMs() / 1000;
        await handle.utimes(now, now);
      }
      yield* chunksOf(handle, digest, start, end, signal);
    } finally {
      await handle.close();
    }
  }

  /** As the port says it. A copy shares the bytes where the file system can, and is made by the system where it cannot. */
  async copyTo(digest: Digest, path: string): Promise<void> {
    if (!(await this.has(digest))) throw blobNotFound(digest);
    const mode = constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE;
    const copy = async (): Promise<void> =>
      digest.sizeBytes <= copiedNowBytesMax
        ? copyFileSync(this.#layout.blob(digest), path, mode)
        : copyFile(this.#layout.blob(digest), path, mode);
    try {
      // Absence is the blob's: that of the folder to copy to shows again below.
      await copy().catch(async (error: unknown) => {
        if (errorCode(error) !== 'ENOENT') throw error;
        if ((await this.#whileRemoved(digest, async () => statNow(this.#layout.blob(digest)))) === null)
          throw blobNotFound(digest);
        await copy();
      });
      if (statNow(path)?.size !== digest.sizeBytes) throw blobNotFound(digest);
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') await rm(path, { force: true });
      throw error;
    }
  }

  /** Every blob in the folder, in no order. */
  async *scan(): AsyncGenerator<FoundBlob> {
    for (const first of await readdir(this.#layout.blobs)) {
      for (const second of await readdir(join(this.#layout.blobs, first)).catch(emptyIfAbsent)) {
        const folder = join(this.#layout.blobs, first, second);
        const names = (await readdir(folder).catch(emptyIfAbsent)).filter((name) => blobNamePattern.test(name));
        const stats = await Promise.all(names.map((name) => lstat(join(folder, name)).catch(nullIfAbsent)));
        for (const [index, found] of stats.entries()) {
          if (found === null) continue;
          yield { name: names[index]!, sizeBytes: found.size, usedMs: found.mtimeMs, isPinned: found.nlink > 1 };
        }
      }
    }
  }

  /**
   * Removes a blob that a scan found, unless it was pinned or used since. It is put aside first: whether it is pinned is
   * the number of its links, and once it is aside no pin can be added to it, so the answer is final.
   */
  async remove(blob: FoundBlob): Promise<boolean> {
    const aside = this.#layout.trashed(blob.name);
    const place = this.#layout.blobNamed(blob.name);
    if ((await rename(place, aside).catch(absentIsNull)) === null) return false;
    const found = await stat(aside);
    if (found.nlink > 1 || found.mtimeMs > blob.usedMs) {
      await this.#putBack(aside, place);
      return false;
    }
    await unlink(aside);
    return true;
  }

  /** Puts back what a crash left aside. */
  async recoverTrash(): Promise<void> {
    for (const entry of await readdir(this.#layout.trash)) {
      const aside = join(this.#layout.trash, entry);
      const found = await stat(aside).catch(nullIfAbsent);
      const name = entry.slice(0, entry.indexOf('.'));
      // The change time is when it was put aside: that is a change of the file's name.
      if (found === null || this.#clock.wallMs() - found.ctimeMs < trashLeftoverMs) continue;
      if (blobNamePattern.test(name)) await this.#putBack(aside, this.#layout.blobNamed(name));
      else await rm(aside, { force: true });
    }
  }

  async #putBack(aside: string, place: string): Promise<void> {
    try {
      await link(aside, place);
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error;
      // Someone wrote the blob anew meanwhile. Ours takes the place, as it is the one that pins hold.
      await rename(aside, place);
    }
    await rm(aside, { force: true });
  }

  /** Tries again while a removal, here or in another process, has put a blob aside that it may put back. */
  async #whileRemoved<T>(digest: Digest, attempt: () => Promise<T>): Promise<T | null> {
    const prefix = `${blobName(digest)}.`;
    for (let round = 0; round < 100; round++) {
      const isAside = readdirSync(this.#layout.trash).some((entry) => entry.startsWith(prefix));
      const result = await attempt().catch(nullIfAbsent);
      if (result !== null || !isAside) return result;
    }
    return null;
  }

  /** A file of another length is damaged: nobody may get it, and its place must be free for the blob. */
  async #isWhole(found: Stats, digest: Digest): Promise<boolean> {
    if (found.size === digest.sizeBytes) return true;
    await rm(this.#layout.blob(digest), { force: true });
    return false;
  }

  #isStale(found: Stats): boolean {
    return this.#clock.wallMs() - found.mtimeMs > this.#accessResolutionMs;
  }
}

async function* chunksOf(
  handle: FileHandle,
  digest: Digest,
  start: number,
  end: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for (let at = start; at < end;) {
    signal?.throwIfAborted();
    const buffer = Buffer.allocUnsafeSlow(Math.min(readChunkBytes, end - at));
    const { bytesRead } = await handle.read(buffer, 0, buffer.byteLength, at);
    if (bytesRead === 0) throw blobNotFound(digest); // cut short by someone else since it was opened
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** Where a file stands, which the system knows at once: asking by another thread costs twenty times as much. */
function statNow(path: string): Stats | null {
  return statSync(path, { throwIfNoEntry: false }) ?? null;
}

function emptyIfAbsent(error: unknown): string[] {
  return nullIfAbsent(error) ?? [];
}

function absentIsNull(error: unknown): null {
  return nullIfAbsent(error);
}
