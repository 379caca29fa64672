import { toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { Code, type HandlerContext, type ServiceImpl } from '@connectrpc/connect';
import {
  collectBytes,
  digestEquals,
  digestMismatch,
  digestOfBytes,
  digestToWire,
  forEachLimited,
  isZstdError,
  walkTree,
  zstdAvailable,
  zstdCompressBytes,
  zstdDecompressBytes,
  type CallOptions,
  type ContentStore,
  type Digest,
} from '@drover/content-store';
import type { Principal } from '@drover/lease-kit';
import {
  Compressor_Value,
  DirectorySchema,
  type BatchReadBlobsResponse_ResponseSchema,
  type BatchUpdateBlobsRequest_Request,
  type ContentAddressableStorage,
  type Directory,
  type GetTreeResponseSchema,
  type StatusSchema,
} from '@drover/standard-protocols';
import { CallSlots } from './call-slots.ts';
import { statusFrom } from './connect-error-from.ts';
import type { ResolvedLimits } from './content-service-options.ts';
import { serviceError } from './service-errors.ts';
import { checkDigestFunction, digestFromWire, enumName } from './wire-digest.ts';

const writeConcurrency = 16;
/** Below this a frame costs as much as it saves. */
const compressFromBytes = 1024;
const treePageBytesMax = 1024 * 1024;

/** The handlers of ContentAddressableStorage over a store. */
export function createCasService(
  store: ContentStore,
  principalOf: (context: HandlerContext) => Principal,
  limits: ResolvedLimits,
): ServiceImpl<typeof ContentAddressableStorage> {
  const batches = new CallSlots('batch calls', limits.concurrentBatchesMax);
  const walks = new CallSlots('GetTree calls', limits.concurrentReadsMax);
  return {
    async findMissingBlobs(request, context) {
      using _ = batches.take(principalOf(context));
      checkDigestFunction(request.digestFunction);
      refuseOver('digests', request.blobDigests.length, limits.findMissingMax);
      const missing = await store.findMissing(request.blobDigests.map(digestFromWire), { signal: context.signal });
      return { missingBlobDigests: missing.map(digestToWire) };
    },

    async batchUpdateBlobs(request, context) {
      using _ = batches.take(principalOf(context));
      checkDigestFunction(request.digestFunction);
      refuseOver('blobs', request.requests.length, limits.batchEntriesMax);
      const sizes = request.requests.map(({ digest, data }) =>
        Math.max(Number(digest?.sizeBytes ?? 0), data.byteLength),
      );
      refuseOver('bytes', sum(sizes), limits.batchTotalBytesMax);
      const statuses: MessageInitShape<typeof StatusSchema>[] = [];
      await forEachLimited(request.requests.entries(), writeConcurrency, async ([index, entry]) => {
        statuses[index] = await statusOf(() => updateBlob(store, entry, { signal: context.signal }));
      });
      return { responses: request.requests.map(({ digest }, index) => ({ digest, status: statuses[index] })) };
    },

    async batchReadBlobs(request, context) {
      using _ = batches.take(principalOf(context));
      checkDigestFunction(request.digestFunction);
      refuseOver('blobs', request.digests.length, limits.batchEntriesMax);
      refuseOver('bytes', sum(request.digests.map(({ sizeBytes }) => Number(sizeBytes))), limits.batchTotalBytesMax);
      const mayCompress = zstdAvailable && request.acceptableCompressors.includes(Compressor_Value.ZSTD);
      const responses: MessageInitShape<typeof BatchReadBlobsResponse_ResponseSchema>[] = [];
      await forEachLimited(request.digests.entries(), writeConcurrency, async ([index, digest]) => {
        let content = {};
        const status = await statusOf(async () => {
          content = await readBlob(store, digestFromWire(digest), mayCompress, { signal: context.signal });
        });
        responses[index] = { digest, status, ...content };
      });
      return { responses };
    },

    async *getTree(request, context) {
      using _ = walks.take(principalOf(context));
      checkDigestFunction(request.digestFunction);
      if (!/^[0-9]{0,9}$/.test(request.pageToken)) {
        throw serviceError('PAGE_TOKEN_INVALID', 'the page token is none that an earlier response gave');
      }
      const wanted = request.pageSize > 0 ? request.pageSize : limits.treePageEntriesMax;
      const pages = treePages(store, digestFromWire(request.rootDigest), {
        skip: Number(request.pageToken),
        entriesMax: Math.min(wanted, limits.treePageEntriesMax),
        limits,
        signal: context.signal,
      });
      yield* pages;
    },
  };
}

async function updateBlob(
  store: ContentStore,
  entry: BatchUpdateBlobsRequest_Request,
  call: CallOptions,
): Promise<void> {
  const digest = digestFromWire(entry.digest);
  const bytes = await plainBytes(entry, digest);
  // Checked here and not left to the store, which takes a blob that it has on trust.
  const actual = digestOfBytes(bytes);
  if (!digestEquals(actual, digest)) throw digestMismatch(digest, actual);
  await store.write(digest, bytes, call);
}

async function plainBytes(entry: BatchUpdateBlobsRequest_Request, digest: Digest): Promise<Uint8Array> {
  if (entry.compressor === Compressor_Value.IDENTITY) return entry.data;
  if (entry.compressor !== Compressor_Value.ZSTD || !zstdAvailable) {
    const name = enumName(Compressor_Value, entry.compressor);
    throw serviceError('COMPRESSOR_UNSUPPORTED', `compressor ${name} is not supported: IDENTITY and ZSTD are`);
  }
  try {
    return await zstdDecompressBytes(entry.data, digest.sizeBytes);
  } catch (error) {
    if (error instanceof RangeError) throw digestMismatch(digest, { sizeBytes: digest.sizeBytes + 1 });
    if (isZstdError(error)) throw digestMismatch(digest, { sizeBytes: 0 });
    throw error;
  }
}

async function readBlob(
  store: ContentStore,
  digest: Digest,
  mayCompress: boolean,
  call: CallOptions,
): Promise<{ data: Uint8Array; compressor?: Compressor_Value }> {
  const data = await collectBytes(store.read(digest, call), digest.sizeBytes);
  if (!mayCompress || data.byteLength < compressFromBytes) return { data };
  const compressed = await zstdCompressBytes(data);
  if (compressed.byteLength > data.byteLength * 0.9) return { data };
  return { data: compressed, compressor: Compressor_Value.ZSTD };
}

/** Pages of a tree; a token is the number of directories before the page, in the order of the walk. */
async function* treePages(
  store: ContentStore,
  root: Digest,
  options: { skip: number; entriesMax: number; limits: ResolvedLimits; signal: AbortSignal },
): AsyncGenerator<MessageInitShape<typeof GetTreeResponseSchema>> {
  let page: Directory[] = [];
  let pageBytes = 0;
  let index = 0;
  const walk = walkTree(store, root, { missing: 'skip', limits: options.limits.tree, signal: options.signal });
  for await (const { directory } of walk) {
    if (index++ < options.skip) continue;
    const bytes = toBinary(DirectorySchema, directory).byteLength;
    if (page.length >= options.entriesMax || (page.length > 0 && pageBytes + bytes > treePageBytesMax)) {
      yield { directories: page, nextPageToken: String(index - 1) };
      page = [];
      pageBytes = 0;
    }
    page.push(directory);
    pageBytes += bytes;
  }
  yield { directories: page };
}

async function statusOf(work: () => Promise<void>): Promise<MessageInitShape<typeof StatusSchema>> {
  try {
    await work();
    return { code: 0 };
  } catch (error) {
    const status = statusFrom(error);
    // The whole call was given up: that is no answer about this blob.
    if (status.code === Code.Canceled || status.code === Code.DeadlineExceeded) throw error;
    return status;
  }
}

function refuseOver(what: string, count: number, max: number): void {
  if (count > max) {
    throw serviceError('BATCH_TOO_LARGE', `${count} ${what} in one call are too many: at most ${max} are allowed`);
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + Math.max(0, number), 0);
}
