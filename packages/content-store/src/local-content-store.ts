import type { BlobPins } from './blob-pins.ts';
import type { BlobUploads } from './blob-uploads.ts';
import type { CallOptions, ContentStore } from './content-store.ts';

/** What a store holds at this moment. */
export interface ContentUsage {
  readonly blobCount: number;
  /** Bytes of all blobs and of uploads under way. */
  readonly sizeBytes: number;
  /** Bytes of the blobs that are pinned. */
  readonly pinnedBytes: number;
  /** The size that removal keeps the store under. */
  readonly sizeBytesMax: number;
  /** Uploads that are open or suspended. */
  readonly uploadCount: number;
}

/** A store that keeps the blobs itself, as a server needs it: it can also pin, resume uploads and count. */
export interface LocalContentStore extends ContentStore, BlobUploads, BlobPins, AsyncDisposable {
  /** The largest blob that it takes, in bytes. */
  readonly blobSizeBytesMax: number;
  usage(options?: CallOptions): Promise<ContentUsage>;
}
