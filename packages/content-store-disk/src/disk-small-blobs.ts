import { createDigestHasher, digestEquals, digestMismatch, type Digest } from '@drover/content-store';
import type { Clock } from '@drover/lease-kit';
import { randomUUID } from 'node:crypto';
import { closeSync, futimesSync, linkSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { errorCode, type DiskLayout } from './disk-layout.ts';
import type { DiskRoom } from './disk-room.ts';

/** Up to this size a blob is written here and now, which takes less than a millisecond. */
const smallSizeBytesMax = 256 * 1024;

/**
 * Writes small blobs that are there as a whole, without the book-keeping of uploads. Only for stores that sync nothing: what is
 * synced takes long, and has to be waited for elsewhere.
 */
export class DiskSmallBlobs {
  readonly #layout: DiskLayout;
  readonly #clock: Clock;
  readonly #room: DiskRoom;

  constructor(layout: DiskLayout, deps: { readonly clock: Clock; readonly room: DiskRoom }) {
    this.#layout = layout;
    this.#clock = deps.clock;
    this.#room = deps.room;
  }

  /** False if it has to go the long way: it is large, there is no room, or the file system refused. Throws `DIGEST_MISMATCH`. */
  write(digest: Digest, bytes: Uint8Array): boolean {
    if (this.#layout.isSynced || bytes.byteLength > smallSizeBytesMax || !this.#room.has(bytes.byteLength))
      return false;
    const hasher = createDigestHasher();
    hasher.update(bytes);
    const actual = hasher.digest();
    if (!digestEquals(actual, digest)) throw digestMismatch(digest, actual);
    const part = this.#layout.part(randomUUID());
    try {
      this.#writePart(part, bytes);
      if (this.#intoPlace(part, digest)) this.#room.count(digest.sizeBytes);
      return true;
    } catch {
      return false; // the long way tries again, and says what is wrong
    } finally {
      rmSync(part, { force: true });
    }
  }

  #writePart(part: string, bytes: Uint8Array): void {
    const file = openSync(part, 'wx', 0o644);
    try {
      for (let at = 0; at < bytes.byteLength;) at += writeSync(file, bytes, at);
      const now = this.#clock.wallMs() / 1000;
      futimesSync(file, now, now);
    } finally {
      closeSync(file);
    }
  }

  /** A link, as for uploads: it refuses where a rename would replace what pins hold. False: it is there. */
  #intoPlace(part: string, digest: Digest): boolean {
    const place = this.#layout.blob(digest);
    try {
      linkSync(part, place);
    } catch (error) {
      if (errorCode(error) === 'EEXIST') return false;
      if (errorCode(error) !== 'ENOENT') throw error;
      mkdirSync(this.#layout.blobFolder(digest), { recursive: true });
      linkSync(part, place);
    }
    return true;
  }
}
