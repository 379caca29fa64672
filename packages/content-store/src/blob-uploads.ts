import type { CallOptions } from './content-store.ts';
import type { Digest } from './digest.ts';

/**
 * A blob that is coming in and may stop and go on.
 *
 * ```
 * openUpload ─▶ open ─ commit ──▶ the blob is there
 *                │ ▲   discard ─▶ gone       (also: bytes that do not match, no room)
 *         suspend▼ │openUpload
 *             suspended ─ idle too long ─▶ gone
 * ```
 *
 * One handle at a time holds an upload: opening it again takes it over, and the older handle's next call throws
 * `UPLOAD_TAKEN_OVER`. Calls on a handle must not overlap.
 */
export interface BlobUpload extends AsyncDisposable {
  readonly digest: Digest;
  /** Bytes that are kept: where the next `append` goes. */
  readonly committedBytes: number;
  /**
   * Keeps `chunk` behind what is there. Throws `DIGEST_MISMATCH` beyond the digest's size or `CONTENT_STORE_FULL`, and
   * discards the upload in both cases; throws `UPLOAD_TAKEN_OVER`.
   */
  append(chunk: Uint8Array): Promise<void>;
  /**
   * Makes it a blob, durably. Throws `DIGEST_MISMATCH` or `CONTENT_STORE_FULL`, and discards the upload in both cases;
   * throws `UPLOAD_TAKEN_OVER`.
   */
  commit(): Promise<void>;
  /** Removes everything; harmless when the upload has ended or was taken over. */
  discard(): Promise<void>;
  /** Lets go of the handle and keeps the bytes for a later `openUpload`; harmless when it has ended. Disposal does this. */
  suspend(): Promise<void>;
}

/** How an upload is opened. */
export interface OpenUploadOptions extends CallOptions {
  /** Begin at 0 and drop what was kept. Default false: continue. */
  readonly restart?: boolean;
}

/** How far an upload is. */
export interface UploadStatus {
  readonly committedBytes: number;
  /** True if the blob itself is there. */
  readonly complete: boolean;
}

/**
 * Uploads that survive a broken connection. An upload is named by the caller's id together with the digest; ids must be
 * unguessable by whoever may not continue the upload.
 *
 * Compliance: `blobUploadsCases` of `@drover/content-store/testing`.
 */
export interface BlobUploads {
  /**
   * Begins an upload, or continues a kept one. `uploadId`: 1 to 512 characters. Throws `DIGEST_INVALID`, `BLOB_TOO_LARGE`,
   * `CONTENT_STORE_FULL`, `UPLOAD_LIMIT`.
   */
  openUpload(uploadId: string, digest: Digest, options?: OpenUploadOptions): Promise<BlobUpload>;

  /** How far an upload is; absent if neither upload nor blob is known. Throws `DIGEST_INVALID`. */
  uploadStatus(uploadId: string, digest: Digest, options?: CallOptions): Promise<UploadStatus | undefined>;
}
