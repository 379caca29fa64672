import {
  contentStoreFull,
  createDigestHasher,
  digestEquals,
  digestMismatch,
  isEmptyDigest,
  uploadLimit,
  uploadTakenOver,
  type BlobUpload,
  type Digest,
  type DigestHasher,
} from '@drover/content-store';
import type { Clock } from '@drover/lease-kit';
import { constants, createReadStream } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, rm, stat, utimes, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, isFull, nullIfAbsent, uploadKey, type DiskLayout } from './disk-layout.ts';
import type { DiskRoom } from './disk-room.ts';
import { ExclusiveSection } from './exclusive-section.ts';

/** An upload that this process knows. */
interface Held {
  readonly key: string;
  readonly path: string;
  readonly hasher: DigestHasher;
  committedBytes: number;
  /** The handle that may append; another one was taken over. */
  holder: object | undefined;
  file: FileHandle | undefined;
}

/**
 * Bytes on their way in. A part file belongs to one opening of the folder, named in the file's name; another process that
 * continues the upload copies it and removes the original, so that no two ever write to one file.
 */
export class DiskUploads {
  readonly #layout: DiskLayout;
  readonly #clock: Clock;
  readonly #room: DiskRoom;
  readonly #uploadsMax: number;
  readonly #uploadIdleMs: number;
  readonly #liveParts: Map<string, number>;
  readonly #held = new Map<string, Held>();
  readonly #opening = new ExclusiveSection();

  constructor(
    layout: DiskLayout,
    deps: { readonly clock: Clock; readonly room: DiskRoom; readonly liveParts: Map<string, number> },
    options: { readonly uploadsMax: number; readonly uploadIdleMs: number },
  ) {
    this.#layout = layout;
    this.#clock = deps.clock;
    this.#room = deps.room;
    this.#liveParts = deps.liveParts;
    this.#uploadsMax = options.uploadsMax;
    this.#uploadIdleMs = options.uploadIdleMs;
  }

  open(uploadId: string, digest: Digest, restart: boolean): Promise<BlobUpload> {
    return this.#opening.run(async () => {
      const key = uploadKey(uploadId, digest);
      if (restart) await this.#removeAll(key);
      const held = (await this.#resume(key)) ?? (await this.#begin(key));
      const holder = {};
      held.holder = holder;
      this.#liveParts.set(held.path, this.#clock.wallMs());
      try {
        await this.#room.require(digest.sizeBytes - held.committedBytes);
      } catch (error) {
        await this.#drop(held);
        throw error;
      }
      return this.#handle(held, holder, digest);
    });
  }

  /** How much is kept; absent if nothing is known or it has been idle for too long. */
  async committedBytes(uploadId: string, digest: Digest): Promise<number | undefined> {
    const key = uploadKey(uploadId, digest);
    for (const path of await this.#partsOf(key)) {
      const found = await stat(path).catch(nullIfAbsent);
      if (found === null || this.#isIdle(path, found.mtimeMs)) continue;
      return this.#held.get(key)?.committedBytes ?? found.size;
    }
    return undefined;
  }

  /** Closes every file; the bytes stay. */
  async close(): Promise<void> {
    for (const held of this.#held.values()) await this.#letGo(held);
    this.#held.clear();
  }

  async #begin(key: string): Promise<Held> {
    if ((await readdir(this.#layout.uploads)).length >= this.#uploadsMax) {
      if ((await this.#room.removeIdleUploads()).count >= this.#uploadsMax) throw uploadLimit(this.#uploadsMax);
    }
    const path = this.#layout.part(key);
    return this.#adopt({ key, path, file: await open(path, 'wx', 0o644), hasher: createDigestHasher() });
  }

  /** Finds an upload to continue, in this process or as a file of another one. */
  async #resume(key: string): Promise<Held | undefined> {
    const known = this.#held.get(key);
    if (known !== undefined) {
      const touchedMs = this.#liveParts.get(known.path);
      await this.#letGo(known);
      const found = await stat(known.path).catch(nullIfAbsent);
      if (found !== null && !this.#isIdle(known.path, touchedMs ?? found.mtimeMs)) {
        known.file = await open(known.path, 'r+');
        return known;
      }
      await this.#drop(known);
    }
    for (const path of await this.#partsOf(key)) {
      const found = await stat(path).catch(nullIfAbsent);
      if (found === null) continue;
      if (this.#isIdle(path, found.mtimeMs)) {
        await rm(path, { force: true });
        continue;
      }
      return this.#takeOver(key, path);
    }
    return undefined;
  }

  async #takeOver(key: string, theirs: string): Promise<Held> {
    const path = this.#layout.part(key);
    await copyFile(theirs, path, constants.COPYFILE_FICLONE);
    await rm(theirs, { force: true }); // the other process finds it gone when it wants to commit
    const hasher = createDigestHasher();
    for await (const chunk of createReadStream(path)) hasher.update(chunk as Uint8Array);
    return this.#adopt({ key, path, file: await open(path, 'r+'), hasher });
  }

  #adopt(part: Pick<Held, 'key' | 'path' | 'file' | 'hasher'>): Held {
    const held: Held = { ...part, committedBytes: part.hasher.sizeBytes, holder: undefined };
    this.#held.set(part.key, held);
    return held;
  }

  #handle(held: Held, holder: object, digest: Digest): BlobUpload {
    const mine = (): FileHandle => {
      if (held.holder !== holder || held.file === undefined) throw uploadTakenOver();
      return held.file;
    };
    const suspend = async (): Promise<void> => {
      if (held.holder !== holder) return;
      await this.#letGo(held);
      const now = this.#clock.wallMs() / 1000;
      await utimes(held.path, now, now).catch(nullIfAbsent);
    };
    const discard = async (): Promise<void> => {
      if (held.holder === holder) await this.#drop(held);
    };
    return {
      digest,
      get committedBytes() {
        return held.committedBytes;
      },
      append: async (chunk) => {
        const file = mine();
        const after = held.committedBytes + chunk.byteLength;
        if (after > digest.sizeBytes) {
          await discard();
          throw digestMismatch(digest, { sizeBytes: after });
        }
        try {
          await this.#room.require(chunk.byteLength);
          await this.#writeAll(file, chunk, held, holder);
        } catch (error) {
          if (held.holder !== holder) throw uploadTakenOver();
          await discard();
          throw asFull(error, digest);
        }
      },
      commit: async () => {
        const file = mine();
        const actual = held.hasher.digest();
        if (!digestEquals(actual, digest)) {
          await discard();
          throw digestMismatch(digest, actual);
        }
        try {
          if (!isEmptyDigest(digest)) await this.#intoPlace(file, held.path, digest);
        } catch (error) {
          await discard();
          throw errorCode(error) === 'ENOENT' ? uploadTakenOver() : asFull(error, digest);
        }
        await this.#letGo(held);
        this.#held.delete(held.key);
        await rm(held.path, { force: true });
      },
      discard,
      suspend,
      [Symbol.asyncDispose]: suspend,
    };
  }

  /** Writes a chunk at the end; when the device is full, once more after making room. */
  async #writeAll(file: FileHandle, chunk: Uint8Array, held: Held, holder: object): Promise<void> {
    let written = 0;
    let mayRetry = true;
    while (written < chunk.byteLength) {
      try {
        const at = held.committedBytes + written;
        written += (await file.write(chunk, written, chunk.byteLength - written, at)).bytesWritten;
      } catch (error) {
        if (!isFull(error) || !mayRetry) throw error;
        mayRetry = false;
        await this.#room.freeOnDevice(chunk.byteLength - written);
      }
    }
    if (held.holder !== holder) throw uploadTakenOver(); // taken over during the write: the taker writes it again
    held.hasher.update(chunk);
    held.committedBytes += chunk.byteLength;
    this.#liveParts.set(held.path, this.#clock.wallMs());
    this.#room.count(chunk.byteLength);
  }

  /**
   * Gives the finished file its name. By a hard link rather than a rename, because a rename would replace a blob that
   * another writer put there, and with it the file that pins hold; a link refuses instead, and then the blob is there.
   */
  async #intoPlace(file: FileHandle, path: string, digest: Digest): Promise<void> {
    const now = this.#clock.wallMs() / 1000;
    await file.utimes(now, now);
    await this.#layout.syncFile(file);
    const folder = this.#layout.blobFolder(digest);
    if ((await mkdir(folder, { recursive: true })) !== undefined) {
      await this.#layout.syncFolder(this.#layout.blobs);
      await this.#layout.syncFolder(join(folder, '..'));
    }
    try {
      await link(path, this.#layout.blob(digest));
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error;
      this.#room.count(-digest.sizeBytes);
    }
    await this.#layout.syncFolder(folder);
  }

  /** Whether a part had no progress for too long; what this process has open it knows better than the file system. */
  #isIdle(path: string, modifiedMs: number): boolean {
    return this.#clock.wallMs() - (this.#liveParts.get(path) ?? modifiedMs) > this.#uploadIdleMs;
  }

  async #letGo(held: Held): Promise<void> {
    const file = held.file;
    held.file = undefined;
    held.holder = undefined;
    this.#liveParts.delete(held.path);
    await file?.close();
  }

  async #drop(held: Held): Promise<void> {
    await this.#letGo(held);
    if (this.#held.get(held.key) === held) this.#held.delete(held.key);
    this.#room.count(-held.committedBytes);
    await rm(held.path, { force: true });
  }

  async #removeAll(key: string): Promise<void> {
    const known = this.#held.get(key);
    if (known !== undefined) await this.#drop(known);
    for (const path of await this.#partsOf(key)) await rm(path, { force: true });
  }

  async #partsOf(key: string): Promise<string[]> {
    const entries = await readdir(this.#layout.uploads);
    return entries.filter((entry) => entry.startsWith(`${key}.`)).map((entry) => join(this.#layout.uploads, entry));
  }
}

function asFull(error: unknown, digest: Digest): unknown {
  return isFull(error) ? contentStoreFull(digest.sizeBytes, 'the device is full', error) : error;
}
