import { systemClock, type Clock } from '@drover/lease-kit';
import { pinExpiryDefaultMs, type PinOptions } from './blob-pins.ts';
import type { BlobUpload, OpenUploadOptions, UploadStatus } from './blob-uploads.ts';
import { byteRange } from './byte-source.ts';
import {
  blobNotFound,
  blobTooLarge,
  contentStoreFull,
  digestMismatch,
  pinLimit,
  uploadLimit,
  uploadTakenOver,
} from './content-errors.ts';
import type { ByteSource, CallOptions, ReadOptions } from './content-store.ts';
import { checkDigest, digestOfBytes, formatDigest, isEmptyDigest, uniqueDigests, type Digest } from './digest.ts';
import type { ContentUsage, LocalContentStore } from './local-content-store.ts';
import { writeThroughUpload } from './write-through-upload.ts';

/** Bounds of a {@link createMemoryContentStore}. */
export interface MemoryContentStoreOptions {
  /** The most bytes of blobs and uploads together. Default 64 MiB. */
  readonly sizeBytesMax?: number;
  /** The largest blob. Default: `sizeBytesMax`. */
  readonly blobSizeBytesMax?: number;
  /** The most uploads open or suspended. Default 256. */
  readonly uploadsMax?: number;
  /** How long an upload without progress is kept. Default 1 hour. */
  readonly uploadIdleMs?: number;
  /** The most owners of pins. Default 10,000. */
  readonly pinOwnersMax?: number;
}

/** Collaborators of a {@link createMemoryContentStore}. */
export interface MemoryContentStoreDeps {
  /** Default: the clock of the process. */
  readonly clock?: Clock;
}

interface Kept {
  readonly chunks: Uint8Array[];
  committedBytes: number;
  touchedMs: number;
  /** The handle that may append; another one was taken over. */
  holder: object | undefined;
}

interface Pins {
  readonly keys: Set<string>;
  expiresMs: number;
}

const readChunkBytes = 256 * 1024;

/** A store in the memory of this process, gone with it: for tests and for small fleets in one process. */
export function createMemoryContentStore(
  options: MemoryContentStoreOptions = {},
  deps: MemoryContentStoreDeps = {},
): LocalContentStore {
  const sizeBytesMax = options.sizeBytesMax ?? 64 * 1024 * 1024;
  const blobSizeBytesMax = Math.min(options.blobSizeBytesMax ?? sizeBytesMax, sizeBytesMax);
  const uploadsMax = options.uploadsMax ?? 256;
  const uploadIdleMs = options.uploadIdleMs ?? 60 * 60 * 1000;
  const pinOwnersMax = options.pinOwnersMax ?? 10_000;
  const clock = deps.clock ?? systemClock;

  /** In order of last use: a Map keeps insertion order, and use inserts anew. */
  const blobs = new Map<string, Uint8Array>();
  const uploads = new Map<string, Kept>();
  const pins = new Map<string, Pins>();
  let sizeBytes = 0;

  const touch = (key: string): Uint8Array | undefined => {
    const bytes = blobs.get(key);
    if (bytes === undefined) return undefined;
    blobs.delete(key);
    blobs.set(key, bytes);
    return bytes;
  };
  const dropExpired = (): void => {
    const now = clock.monotonicMs();
    for (const [owner, held] of pins) if (held.expiresMs <= now) pins.delete(owner);
    for (const [key, kept] of uploads) if (now - kept.touchedMs > uploadIdleMs) dropUpload(key);
  };
  const dropUpload = (key: string): void => {
    const kept = uploads.get(key);
    if (kept === undefined) return;
    uploads.delete(key);
    sizeBytes -= kept.committedBytes;
  };
  const isPinned = (key: string): boolean => pins.values().some((held) => held.keys.has(key));
  const makeRoom = (neededBytes: number): void => {
    if (sizeBytes + neededBytes <= sizeBytesMax) return;
    dropExpired();
    for (const [key, bytes] of blobs) {
      if (sizeBytes + neededBytes <= sizeBytesMax) return;
      if (isPinned(key)) continue;
      blobs.delete(key);
      sizeBytes -= bytes.byteLength;
    }
    if (sizeBytes + neededBytes > sizeBytesMax) {
      throw contentStoreFull(neededBytes, `${sizeBytes} of ${sizeBytesMax} bytes are pinned or being uploaded`);
    }
  };

  const openUpload = async (uploadId: string, digest: Digest, call: OpenUploadOptions = {}): Promise<BlobUpload> => {
    call.signal?.throwIfAborted();
    if (checkDigest(digest).sizeBytes > blobSizeBytesMax) throw blobTooLarge(digest, blobSizeBytesMax);
    const key = `${uploadId} ${formatDigest(digest)}`;
    dropExpired();
    if (call.restart === true) dropUpload(key);
    if (!uploads.has(key) && uploads.size >= uploadsMax) throw uploadLimit(uploadsMax);
    const kept: Kept = uploads.get(key) ?? { chunks: [], committedBytes: 0, touchedMs: 0, holder: undefined };
    uploads.set(key, kept);
    const holder = {};
    kept.holder = holder;
    kept.touchedMs = clock.monotonicMs();
    const held = (): void => {
      if (uploads.get(key) !== kept || kept.holder !== holder) throw uploadTakenOver();
    };
    const discard = async (): Promise<void> => {
      if (uploads.get(key) === kept && kept.holder === holder) dropUpload(key);
    };
    const suspend = async (): Promise<void> => {
      if (kept.holder === holder) kept.holder = undefined;
    };
    return {
      digest,
      get committedBytes() {
        return kept.committedBytes;
      },
      async append(chunk) {
        held();
        const after = kept.committedBytes + chunk.byteLength;
        if (after > digest.sizeBytes) {
          await discard();
          throw digestMismatch(digest, { sizeBytes: after });
        }
        try {
          makeRoom(chunk.byteLength);
        } catch (error) {
          await discard();
          throw error;
        }
        kept.chunks.push(Uint8Array.from(chunk)); // the caller may reuse its buffer
        kept.committedBytes = after;
        kept.touchedMs = clock.monotonicMs();
        sizeBytes += chunk.byteLength;
      },
      async commit() {
        held();
        const bytes = Buffer.concat(kept.chunks);
        const actual = digestOfBytes(bytes);
        await discard();
        if (actual.hash !== digest.hash || actual.sizeBytes !== digest.sizeBytes) throw digestMismatch(digest, actual);
        if (isEmptyDigest(digest) || touch(formatDigest(digest)) !== undefined) return;
        blobs.set(formatDigest(digest), bytes);
        sizeBytes += bytes.byteLength;
      },
      discard,
      suspend,
      [Symbol.asyncDispose]: suspend,
    };
  };

  const uploadStatus = async (
    uploadId: string,
    digest: Digest,
    call: CallOptions = {},
  ): Promise<UploadStatus | undefined> => {
    call.signal?.throwIfAborted();
    const blobKey = formatDigest(checkDigest(digest));
    if (isEmptyDigest(digest) || touch(blobKey) !== undefined) {
      return { committedBytes: digest.sizeBytes, complete: true };
    }
    dropExpired();
    const kept = uploads.get(`${uploadId} ${blobKey}`);
    return kept === undefined ? undefined : { committedBytes: kept.committedBytes, complete: false };
  };

  const store: LocalContentStore = {
    blobSizeBytesMax,
    async findMissing(digests, call: CallOptions = {}) {
      call.signal?.throwIfAborted();
      return uniqueDigests(digests).filter(
        (digest) => !isEmptyDigest(digest) && touch(formatDigest(digest)) === undefined,
      );
    },
    async *read(digest, call: ReadOptions = {}) {
      call.signal?.throwIfAborted();
      const { start, end } = byteRange(checkDigest(digest), call);
      if (isEmptyDigest(digest)) return;
      const bytes = touch(formatDigest(digest));
      if (bytes === undefined) throw blobNotFound(digest);
      for (let at = start; at < end; at += readChunkBytes) {
        call.signal?.throwIfAborted();
        yield bytes.slice(at, Math.min(end, at + readChunkBytes));
      }
    },
    async write(digest, source: ByteSource, call: CallOptions = {}) {
      if ((await store.findMissing([digest], call)).length > 0) await writeThroughUpload(store, digest, source, call);
    },
    openUpload,
    uploadStatus,
    async pin(digests, call: PinOptions) {
      call.signal?.throwIfAborted();
      const wanted = uniqueDigests(digests).filter((digest) => !isEmptyDigest(digest));
      dropExpired();
      if (!pins.has(call.owner) && pins.size >= pinOwnersMax) throw pinLimit(pinOwnersMax);
      const held = pins.get(call.owner) ?? { keys: new Set(), expiresMs: 0 };
      held.expiresMs = clock.monotonicMs() + (call.expiresAfterMs ?? pinExpiryDefaultMs);
      pins.set(call.owner, held);
      const missing = wanted.filter((digest) => touch(formatDigest(digest)) === undefined);
      const absent = new Set(missing);
      for (const digest of wanted) if (!absent.has(digest)) held.keys.add(formatDigest(digest));
      return missing;
    },
    async unpin(owner, call: CallOptions = {}) {
      call.signal?.throwIfAborted();
      pins.delete(owner);
    },
    async usage(call: CallOptions = {}): Promise<ContentUsage> {
      call.signal?.throwIfAborted();
      dropExpired();
      const pinned = new Set(pins.values().flatMap((held) => held.keys));
      return {
        blobCount: blobs.size,
        sizeBytes,
        pinnedBytes: pinned.values().reduce((sum, key) => sum + (blobs.get(key)?.byteLength ?? 0), 0),
        sizeBytesMax,
        uploadCount: uploads.size,
      };
    },
    async [Symbol.asyncDispose]() {
      blobs.clear();
      uploads.clear();
      pins.clear();
      sizeBytes = 0;
    },
  };
  return store;
}
