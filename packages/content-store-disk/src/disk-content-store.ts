import {
  blobTooLarge,
  checkDigest,
  contentStoreClosed,
  contentStoreFull,
  isEmptyDigest,
  uniqueDigests,
  writeThroughUpload,
  type BlobCopies,
  type BlobUpload,
  type ByteSource,
  type CallOptions,
  type ContentUsage,
  type Digest,
  type LocalContentStore,
  type OpenUploadOptions,
  type PinOptions,
  type ReadOptions,
  type UploadStatus,
} from '@drover/content-store';
import { systemClock, type Clock, type ScheduledCall } from '@drover/lease-kit';
import { writeFile } from 'node:fs/promises';
import { DiskBlobs } from './disk-blobs.ts';
import { DiskLayout, isFull } from './disk-layout.ts';
import { DiskPins } from './disk-pins.ts';
import { DiskRoom } from './disk-room.ts';
import { DiskSmallBlobs } from './disk-small-blobs.ts';
import { DiskUploads } from './disk-uploads.ts';
import { Turns } from './turns.ts';

/** Where a disk store is, and its bounds. */
export interface DiskContentStoreOptions {
  /** The store's own folder; it is made if absent. All of it must be on one file system that has hard links. */
  readonly directory: string;
  /** The most bytes of blobs and uploads together; what was used least recently goes first. */
  readonly sizeBytesMax: number;
  /** The largest blob. Default: `sizeBytesMax`. */
  readonly blobSizeBytesMax?: number;
  /** The most uploads open or suspended. Default 1,024. */
  readonly uploadsMax?: number;
  /** How long an upload without progress is kept. Default 1 hour. */
  readonly uploadIdleMs?: number;
  /** The most owners of pins. Default 10,000. */
  readonly pinOwnersMax?: number;
  /**
   * Blobs that nobody has used for so long, and nobody pins, are removed when the store is opened and daily. Absent: age does not
   * matter.
   */
  readonly unusedMaxMs?: number;
  /**
   * What tells this start of the machine from others. With it nothing is synced to the disk, which makes many small blobs far
   * quicker: blobs survive a crash of the process, and are cleared when the folder is opened after another start of the machine.
   * Absent: they survive a crash of the machine.
   */
  readonly bootId?: string | undefined;
  /** A use is recorded if the last record is older than this, which saves a write for every read. Default 1 minute. */
  readonly accessResolutionMs?: number;
}

/** Collaborators of a disk store. */
export interface DiskContentStoreDeps {
  /** Its wall time dates uses, uploads and pins, since those outlive the process. Default: the clock of the process. */
  readonly clock?: Clock;
}

const dayMs = 24 * 60 * 60 * 1000;

/**
 * Opens a store in a folder and clears what a crash left there. Several processes may use one folder at the same time.
 * Throws `CONTENT_STORE_FORMAT` if something else wrote the folder, and what the file system says. Disposal suspends the
 * uploads that are open; a store that was disposed of throws `CONTENT_STORE_CLOSED`.
 */
export async function createDiskContentStore(
  options: DiskContentStoreOptions,
  deps: DiskContentStoreDeps = {},
): Promise<LocalContentStore & BlobCopies> {
  const clock = deps.clock ?? systemClock;
  const layout = new DiskLayout(options.directory, options.bootId);
  await layout.prepare();
  const blobs = new DiskBlobs(layout, clock, options.accessResolutionMs ?? 60_000);
  await blobs.recoverTrash();
  const pins = new DiskPins(layout, clock, options.pinOwnersMax ?? 10_000);
  const uploadIdleMs = options.uploadIdleMs ?? 60 * 60 * 1000;
  const liveParts = new Map<string, number>();
  const room = new DiskRoom(
    layout,
    { clock, blobs, pins, liveParts },
    { sizeBytesMax: options.sizeBytesMax, uploadIdleMs },
  );
  const stopRemoving = await startRemovingUnused(room, options.unusedMaxMs, clock);
  const uploads = new DiskUploads(
    layout,
    { clock, room, liveParts },
    { uploadsMax: options.uploadsMax ?? 1024, uploadIdleMs },
  );
  const smallBlobs = new DiskSmallBlobs(layout, { clock, room });
  return new DiskContentStore(options, { blobs, pins, room, uploads, smallBlobs, stopRemoving });
}

/** Looks at the folder, and again every day where age matters. Answers how to stop. */
async function startRemovingUnused(
  room: DiskRoom,
  unusedMaxMs: number | undefined,
  clock: Clock,
): Promise<() => Promise<void>> {
  if (unusedMaxMs === undefined) {
    await room.measure();
    return () => Promise.resolve();
  }
  await room.removeUnused(unusedMaxMs);
  let running = Promise.resolve();
  let timer: ScheduledCall;
  const again = (): void => {
    timer = clock.schedule(dayMs, () => {
      // What the file system refuses now may go tomorrow.
      running = room.removeUnused(unusedMaxMs).catch(() => undefined);
      again();
    });
  };
  again();
  return () => {
    timer.cancel();
    return running;
  };
}

class DiskContentStore implements LocalContentStore, BlobCopies {
  readonly blobSizeBytesMax: number;
  readonly #sizeBytesMax: number;
  readonly #blobs: DiskBlobs;
  readonly #pins: DiskPins;
  readonly #room: DiskRoom;
  readonly #uploads: DiskUploads;
  readonly #smallBlobs: DiskSmallBlobs;
  readonly #turns = new Turns();
  readonly #stopRemoving: () => Promise<void>;
  #isClosed = false;

  constructor(
    options: DiskContentStoreOptions,
    parts: {
      readonly blobs: DiskBlobs;
      readonly pins: DiskPins;
      readonly room: DiskRoom;
      readonly uploads: DiskUploads;
      readonly smallBlobs: DiskSmallBlobs;
      readonly stopRemoving: () => Promise<void>;
    },
  ) {
    this.#sizeBytesMax = options.sizeBytesMax;
    this.blobSizeBytesMax = Math.min(options.blobSizeBytesMax ?? options.sizeBytesMax, options.sizeBytesMax);
    this.#blobs = parts.blobs;
    this.#pins = parts.pins;
    this.#room = parts.room;
    this.#uploads = parts.uploads;
    this.#smallBlobs = parts.smallBlobs;
    this.#stopRemoving = parts.stopRemoving;
  }

  async findMissing(digests: readonly Digest[], options: CallOptions = {}): Promise<Digest[]> {
    this.#begin(options.signal);
    const wanted = uniqueDigests(digests).filter((digest) => !isEmptyDigest(digest));
    const present = new Set<Digest>();
    for (const digest of wanted) {
      options.signal?.throwIfAborted();
      if (await this.#blobs.has(digest)) present.add(digest);
      await this.#turns.give();
    }
    return wanted.filter((digest) => !present.has(digest));
  }

  async *read(digest: Digest, options: ReadOptions = {}): AsyncGenerator<Uint8Array> {
    this.#begin(options.signal);
    if (isEmptyDigest(checkDigest(digest))) return;
    yield* this.#blobs.read(digest, options);
  }

  async write(digest: Digest, source: ByteSource, options: CallOptions = {}): Promise<void> {
    if ((await this.findMissing([digest], options)).length === 0) return;
    if (source instanceof Uint8Array && this.#smallBlobs.write(digest, source)) return;
    await writeThroughUpload(this, digest, source, options);
  }

  async openUpload(uploadId: string, digest: Digest, options: OpenUploadOptions = {}): Promise<BlobUpload> {
    this.#begin(options.signal);
    if (checkDigest(digest).sizeBytes > this.blobSizeBytesMax) throw blobTooLarge(digest, this.blobSizeBytesMax);
    try {
      return await this.#uploads.open(uploadId, digest, options.restart ?? false);
    } catch (error) {
      throw isFull(error) ? contentStoreFull(digest.sizeBytes, 'the device is full', error) : error;
    }
  }

  async uploadStatus(uploadId: string, digest: Digest, options: CallOptions = {}): Promise<UploadStatus | undefined> {
    this.#begin(options.signal);
    if (isEmptyDigest(checkDigest(digest)) || (await this.#blobs.has(digest))) {
      return { committedBytes: digest.sizeBytes, complete: true };
    }
    const committedBytes = await this.#uploads.committedBytes(uploadId, digest);
    return committedBytes === undefined ? undefined : { committedBytes, complete: false };
  }

  async pin(digests: readonly Digest[], options: PinOptions): Promise<Digest[]> {
    this.#begin(options.signal);
    const wanted = uniqueDigests(digests).filter((digest) => !isEmptyDigest(digest));
    try {
      return await this.#pins.pin(wanted, options, (digest) => this.#blobs.has(digest));
    } catch (error) {
      throw isFull(error) ? contentStoreFull(0, 'the device is full', error) : error;
    }
  }

  async unpin(owner: string, options: CallOptions = {}): Promise<void> {
    this.#begin(options.signal);
    await this.#pins.unpin(owner);
  }

  async copyTo(digest: Digest, path: string, options: CallOptions = {}): Promise<void> {
    this.#begin(options.signal);
    if (isEmptyDigest(checkDigest(digest))) await writeFile(path, '', { flag: 'wx' });
    else await this.#blobs.copyTo(digest, path);
    await this.#turns.give();
  }

  /** Looks at every blob of the folder. */
  async usage(options: CallOptions = {}): Promise<ContentUsage> {
    this.#begin(options.signal);
    return { ...(await this.#room.measure()), sizeBytesMax: this.#sizeBytesMax };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await this.#stopRemoving();
    await this.#uploads.close();
  }

  #begin(signal: AbortSignal | undefined): void {
    if (this.#isClosed) throw contentStoreClosed();
    signal?.throwIfAborted();
  }
}
