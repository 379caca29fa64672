import { createClient, type Client, type Transport } from '@connectrpc/connect';
import {
  bytesFrom,
  byteRange,
  checkDigest,
  collectBytes,
  createDigestHasher,
  digestEquals,
  digestFromWire,
  digestMismatch,
  digestOfBytes,
  digestToWire,
  isEmptyDigest,
  blobTooLarge,
  uniqueDigests,
  type ByteSource,
  type CallOptions,
  type ContentStore,
  type Digest,
  type ReadOptions,
} from '@drover/content-store';
import { systemClock, type Clock } from '@drover/lease-kit';
import { ByteStream, Capabilities, ContentAddressableStorage } from '@drover/standard-protocols';
import { BlobBatcher } from './blob-batcher.ts';
import { readBlobStream } from './read-blob-stream.ts';
import { RemoteCapabilities } from './remote-capabilities.ts';
import { Retry } from './retry.ts';
import { writeBlobStream } from './write-blob-stream.ts';

/** How a remote store behaves. */
export interface RemoteContentStoreOptions {
  /** The instance of the server to use. Default: the empty name, which most servers take for their only one. */
  readonly instanceName?: string;
  /** Blobs up to this size travel in batches, if the server's batches are as large. Default 64 KiB. */
  readonly batchBlobBytesMax?: number;
  /** The most batch calls at once, of each direction. Default 4. */
  readonly concurrentBatchesMax?: number;
  /**
   * `auto`: zstd when the server offers it and the blob's beginning compresses by at least a tenth; `never`: no zstd.
   * Default `auto`.
   */
  readonly compression?: 'auto' | 'never';
  /** How often a call is tried without progress before its failure is passed on. Default 5. */
  readonly attemptsMax?: number;
  /** The wait before the second attempt; it doubles for each further one and is varied by up to half. Default 100. */
  readonly backOffMs?: number;
  /** The longest such wait. Default 5,000. */
  readonly backOffMaxMs?: number;
  /**
   * What is kept of a source that can be read only once, to send it again after a broken connection. Default 8 MiB.
   * Sources that are bytes or a function need nothing kept.
   */
  readonly replayBytesMax?: number;
}

/** Collaborators of a remote store. */
export interface RemoteContentStoreDeps {
  /**
   * How to reach the server; a gRPC transport for servers that are not Drover's. Its owner closes it. It should send no
   * gzip, as blobs are compressed by zstd where that pays.
   */
  readonly transport: Transport;
  /** For the waits between attempts. Default: the clock of the process. */
  readonly clock?: Clock;
}

/** The clients of the three services. */
export interface RemoteClients {
  readonly cas: Client<typeof ContentAddressableStorage>;
  readonly bytes: Client<typeof ByteStream>;
}

const findMissingSlice = 5000;

/**
 * A store behind any Remote Execution API v2 server. Small blobs that are asked for or written at the same time share
 * calls; large ones are streamed and go on after a broken connection where they stopped. What is read as a whole is
 * verified: on damage the last chunk is followed by `DIGEST_MISMATCH`. It has nothing to close but its transport.
 *
 * Beside the errors of the port it throws `CONTENT_STORE_UNAVAILABLE` when the server can't be reached or the source can't
 * be read again, and `CONTENT_STORE_REFUSED` for what the server says that has no better code.
 */
export function createRemoteContentStore(
  options: RemoteContentStoreOptions,
  deps: RemoteContentStoreDeps,
): ContentStore {
  return new RemoteContentStore(options, deps);
}

class RemoteContentStore implements ContentStore {
  readonly #clients: RemoteClients;
  readonly #capabilities: RemoteCapabilities;
  readonly #batcher: BlobBatcher;
  readonly #retry: Retry;
  readonly #instanceName: string;
  readonly #batchBlobBytesMax: number;
  readonly #replayBytesMax: number;

  constructor(options: RemoteContentStoreOptions, { transport, clock = systemClock }: RemoteContentStoreDeps) {
    this.#instanceName = options.instanceName ?? '';
    this.#batchBlobBytesMax = options.batchBlobBytesMax ?? 64 * 1024;
    this.#replayBytesMax = options.replayBytesMax ?? 8 * 1024 * 1024;
    this.#retry = new Retry(clock, {
      attemptsMax: options.attemptsMax ?? 5,
      backOffMs: options.backOffMs ?? 100,
      backOffMaxMs: options.backOffMaxMs ?? 5000,
    });
    this.#clients = {
      cas: createClient(ContentAddressableStorage, transport),
      bytes: createClient(ByteStream, transport),
    };
    const mayCompress = (options.compression ?? 'auto') === 'auto';
    const client = createClient(Capabilities, transport);
    this.#capabilities = new RemoteCapabilities(client, this.#instanceName, mayCompress, this.#retry);
    this.#batcher = new BlobBatcher(
      this.#clients.cas,
      this.#instanceName,
      options.concurrentBatchesMax ?? 4,
      this.#retry,
    );
  }

  async findMissing(digests: readonly Digest[], options: CallOptions = {}): Promise<Digest[]> {
    options.signal?.throwIfAborted();
    const wanted = uniqueDigests(digests).filter((digest) => !isEmptyDigest(digest));
    const missing: Digest[] = [];
    for (let at = 0; at < wanted.length; at += findMissingSlice) {
      const blobDigests = wanted.slice(at, at + findMissingSlice).map(digestToWire);
      const request = { instanceName: this.#instanceName, blobDigests };
      const answer = await this.#retry.run(options, (call) => this.#clients.cas.findMissingBlobs(request, call));
      missing.push(...answer.missingBlobDigests.map(digestFromWire));
    }
    return missing;
  }

  async *read(digest: Digest, options: ReadOptions = {}): AsyncGenerator<Uint8Array> {
    options.signal?.throwIfAborted();
    const { start, end } = byteRange(checkDigest(digest), options);
    if (isEmptyDigest(digest)) return;
    const capabilities = await this.#capabilities.get(options);
    const isWhole = start === 0 && end === digest.sizeBytes;
    if (isWhole && digest.sizeBytes <= Math.min(this.#batchBlobBytesMax, capabilities.batchTotalBytesMax)) {
      yield await this.#batcher.read(digest, capabilities, options);
      return;
    }
    const hasher = createDigestHasher();
    const chunks = readBlobStream(
      this.#clients.bytes,
      this.#instanceName,
      digest,
      { start, end },
      {
        ...options,
        capabilities,
        retry: this.#retry,
      },
    );
    for await (const chunk of chunks) {
      if (isWhole) hasher.update(chunk);
      yield chunk;
    }
    if (!isWhole) return;
    const actual = hasher.digest();
    if (!digestEquals(actual, digest)) throw digestMismatch(digest, actual);
  }

  async write(digest: Digest, source: ByteSource, options: CallOptions = {}): Promise<void> {
    if (isEmptyDigest(checkDigest(digest))) return;
    options.signal?.throwIfAborted();
    const capabilities = await this.#capabilities.get(options);
    if (digest.sizeBytes > capabilities.blobSizeBytesMax) throw blobTooLarge(digest, capabilities.blobSizeBytesMax);
    if (digest.sizeBytes <= Math.min(this.#batchBlobBytesMax, capabilities.batchTotalBytesMax)) {
      await this.#batcher.write(digest, await smallBlob(digest, source, options), capabilities, options);
      return;
    }
    await writeBlobStream(this.#clients.bytes, this.#instanceName, digest, source, {
      ...options,
      capabilities,
      retry: this.#retry,
      replayBytesMax: this.#replayBytesMax,
    });
  }
}

/** The bytes of a blob that goes into a batch, verified before they take up the server's time. */
async function smallBlob(digest: Digest, source: ByteSource, options: CallOptions): Promise<Uint8Array> {
  let bytes: Uint8Array;
  try {
    bytes = await collectBytes(bytesFrom(source, options.signal), digest.sizeBytes);
  } catch (error) {
    if (error instanceof RangeError) throw digestMismatch(digest, { sizeBytes: digest.sizeBytes + 1 });
    throw error;
  }
  const actual = digestOfBytes(bytes);
  if (!digestEquals(actual, digest)) throw digestMismatch(digest, actual);
  return bytes;
}
