import type { Digest } from './digest.ts';

/** Stops a call. Absent means that nothing stops it. On abort the call rejects with the signal's reason. */
export interface CallOptions {
  readonly signal?: AbortSignal;
}

/** Which part of a blob to read. */
export interface ReadOptions extends CallOptions {
  /** First byte wanted, 0 to the blob's size. Default 0. */
  readonly offset?: number;
  /** The most bytes wanted, at least 0. Absent means up to the end. */
  readonly limit?: number;
}

/**
 * Where the bytes of a blob come from. A function gives the bytes from an offset on and may be called again, which lets a
 * remote store resume after a broken connection however much was sent; a plain iterable (a Node stream is one) is read
 * once.
 */
export type ByteSource =
  | Uint8Array
  | AsyncIterable<Uint8Array>
  | Iterable<Uint8Array>
  | ((offset: number) => AsyncIterable<Uint8Array> | Iterable<Uint8Array>);

/**
 * Blobs by their digest. What a reader gets was verified when it came in. The empty blob is always there. A blob may be
 * removed at any time when the store needs room, unless it is pinned ({@link BlobPins}); being asked for or read renews it.
 *
 * Compliance: `contentStoreCases` of `@drover/content-store/testing`.
 */
export interface ContentStore {
  /**
   * Which of `digests` are not there, without repetitions; renews the ones that are. Throws `DIGEST_INVALID`.
   */
  findMissing(digests: readonly Digest[], options?: CallOptions): Promise<Digest[]>;

  /**
   * The bytes of a blob, in chunks of any size that the consumer may keep. Ending the iteration early releases everything.
   * Throws, when iterated, `BLOB_NOT_FOUND`, `RANGE_INVALID`, `DIGEST_INVALID`.
   */
  read(digest: Digest, options?: ReadOptions): AsyncIterable<Uint8Array>;

  /**
   * Takes a blob in; returns when it will survive a crash of the store, at once if it is there already. Throws
   * `DIGEST_MISMATCH` if size or hash of the bytes differ, `BLOB_TOO_LARGE`, `CONTENT_STORE_FULL`, `DIGEST_INVALID`, or what
   * the source throws; in every such case, and on abort, nothing of the blob is kept.
   */
  write(digest: Digest, source: ByteSource, options?: CallOptions): Promise<void>;
}
