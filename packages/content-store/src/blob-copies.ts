import type { CallOptions } from './content-store.ts';
import type { Digest } from './digest.ts';

/** Of a store whose blobs are files: copies within the file system, which may share the bytes instead. */
export interface BlobCopies {
  /**
   * Copies a blob to a new file at `path`, which nothing done to it leads back from. Throws `BLOB_NOT_FOUND`,
   * `DIGEST_INVALID`, `EEXIST` where something stands already, and what else the file system says; then there is no file.
   */
  copyTo(digest: Digest, path: string, options?: CallOptions): Promise<void>;
}
