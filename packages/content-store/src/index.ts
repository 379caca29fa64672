export type { BlobCopies } from './blob-copies.ts';
export { pinExpiryDefaultMs, type BlobPins, type PinOptions } from './blob-pins.ts';
export { type BlobUpload, type BlobUploads, type OpenUploadOptions, type UploadStatus } from './blob-uploads.ts';
export { byteRange, bytesFrom, collectBytes } from './byte-source.ts';
export {
  blobNotFound,
  blobTooLarge,
  contentStoreClosed,
  contentStoreFull,
  digestInvalid,
  digestMismatch,
  pinLimit,
  rangeInvalid,
  uploadLimit,
  uploadTakenOver,
  type ContentErrorCode,
} from './content-errors.ts';
export { type ByteSource, type CallOptions, type ContentStore, type ReadOptions } from './content-store.ts';
export {
  checkDigest,
  createDigestHasher,
  digestEquals,
  digestOfBytes,
  digestOfStream,
  emptyDigest,
  formatDigest,
  isEmptyDigest,
  parseDigest,
  uniqueDigests,
  type Digest,
  type DigestHasher,
} from './digest.ts';
export { forEachLimited } from './for-each-limited.ts';
export { type ContentUsage, type LocalContentStore } from './local-content-store.ts';
export { materializeTree, type MaterializeTreeOptions } from './materialize-tree.ts';
export {
  createMemoryContentStore,
  type MemoryContentStoreDeps,
  type MemoryContentStoreOptions,
} from './memory-content-store.ts';
export { storeTree, type StoredTree, type StoreTreeOptions } from './store-tree.ts';
export { type TreeFigures, type TreeLimits } from './tree-limits.ts';
export { treeDigests, walkTree, type StoredDirectory, type WalkTreeOptions } from './walk-tree.ts';
export { digestFromWire, digestToWire, type WireDigest } from './wire-digest.ts';
export { writeThroughUpload } from './write-through-upload.ts';
export {
  isZstdError,
  zstdAvailable,
  zstdCompressBytes,
  zstdCompressed,
  zstdDecompressBytes,
  zstdDecompressed,
} from './zstd.ts';
