import type { HandlerContext } from '@connectrpc/connect';
import type { BlobUploads, ContentStore, TreeLimits } from '@drover/content-store';
import type { Clock, Logger, Principal } from '@drover/lease-kit';

/** Bounds of the content service. Over one of them a call fails with `RESOURCE_EXHAUSTED` unless it says otherwise. */
export interface ContentServiceLimits {
  /** The most bytes of blobs in one batch call, announced to clients. Over it: `INVALID_ARGUMENT`. Default 3 MiB. */
  readonly batchTotalBytesMax?: number;
  /** The most blobs in one batch call. Over it: `INVALID_ARGUMENT`. Default 4,000. */
  readonly batchEntriesMax?: number;
  /** The most digests in one FindMissingBlobs call. Over it: `INVALID_ARGUMENT`. Default 20,000. */
  readonly findMissingMax?: number;
  /** The largest request message. Default 4 MiB, which is what gRPC takes by default. */
  readonly messageBytesMax?: number;
  /** The largest blob, announced to clients. Over it: `INVALID_ARGUMENT`. Default: the store's `blobSizeBytesMax`. */
  readonly blobSizeBytesMax?: number;
  /** The most ByteStream writes at once. Default 256. */
  readonly concurrentWritesMax?: number;
  /** The most ByteStream writes at once of one principal. Default 64. */
  readonly concurrentWritesPerPrincipalMax?: number;
  /** The most ByteStream reads and GetTree calls at once. Default 1,024. */
  readonly concurrentReadsMax?: number;
  /** The most batch and FindMissingBlobs calls at once. Default 64. */
  readonly concurrentBatchesMax?: number;
  /**
   * How long a ByteStream write may send nothing. Then it ends with `DEADLINE_EXCEEDED`, and what was sent is kept for
   * resuming as long as the store keeps idle uploads. Default 1 minute.
   */
  readonly writeStallMs?: number;
  /** The most directories in one GetTree response, whatever the client asks for. Default 1,000. */
  readonly treePageEntriesMax?: number;
  /** Bounds of the trees that GetTree walks. */
  readonly tree?: TreeLimits;
}

/** What {@link registerContentService} needs. */
export interface ContentServiceDeps {
  /** Where the blobs are. */
  readonly store: ContentStore & BlobUploads & { readonly blobSizeBytesMax: number };
  /**
   * On whose behalf a call is made: the host knows, from a context value or the connection. It is asked first in every
   * call; a `ConnectError` that it throws is the answer to the client.
   */
  readonly principalOf: (context: HandlerContext) => Principal;
  /** Default: the clock of the process. */
  readonly clock?: Clock;
  /** Default: silence. Unforeseen failures are errors, refused calls are debug lines. */
  readonly logger?: Logger;
}

/** The limits with their defaults filled in. */
export type ResolvedLimits = Required<Omit<ContentServiceLimits, 'tree'>> & { readonly tree: TreeLimits };

/** Fills in the defaults. */
export function resolveLimits(limits: ContentServiceLimits, storeBlobBytesMax: number): ResolvedLimits {
  return {
    batchTotalBytesMax: limits.batchTotalBytesMax ?? 3 * 1024 * 1024,
    batchEntriesMax: limits.batchEntriesMax ?? 4000,
    findMissingMax: limits.findMissingMax ?? 20_000,
    messageBytesMax: limits.messageBytesMax ?? 4 * 1024 * 1024,
    blobSizeBytesMax: Math.min(limits.blobSizeBytesMax ?? storeBlobBytesMax, storeBlobBytesMax),
    concurrentWritesMax: limits.concurrentWritesMax ?? 256,
    concurrentWritesPerPrincipalMax: limits.concurrentWritesPerPrincipalMax ?? 64,
    concurrentReadsMax: limits.concurrentReadsMax ?? 1024,
    concurrentBatchesMax: limits.concurrentBatchesMax ?? 64,
    writeStallMs: limits.writeStallMs ?? 60_000,
    treePageEntriesMax: limits.treePageEntriesMax ?? 1000,
    tree: limits.tree ?? {},
  };
}
