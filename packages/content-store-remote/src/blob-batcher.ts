import type { Client } from '@connectrpc/connect';
import {
  blobNotFound,
  digestEquals,
  digestMismatch,
  digestOfBytes,
  digestToWire,
  formatDigest,
  isZstdError,
  zstdDecompressBytes,
  type CallOptions,
  type Digest,
} from '@drover/content-store';
import {
  Compressor_Value,
  type BatchReadBlobsResponse_Response,
  type ContentAddressableStorage,
} from '@drover/standard-protocols';
import { errorFromStatus } from './error-from-remote.ts';
import type { KnownCapabilities } from './remote-capabilities.ts';
import type { Retry } from './retry.ts';
import { compressedIfShorter } from './worth-compressing.ts';

interface Waiting<Answer> {
  readonly digest: Digest;
  readonly bytes?: Uint8Array;
  readonly signal: AbortSignal | undefined;
  readonly capabilities: KnownCapabilities;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}

const entriesMax = 1000;

/**
 * Gathers small blobs into batch calls without making any wait for company: a call leaves as soon as one may, and what
 * comes while the allowed number is under way shares the next.
 */
export class BlobBatcher {
  readonly #cas: Client<typeof ContentAddressableStorage>;
  readonly #instanceName: string;
  readonly #retry: Retry;
  readonly #reads: Lane<Uint8Array>;
  readonly #writes: Lane<void>;

  constructor(
    cas: Client<typeof ContentAddressableStorage>,
    instanceName: string,
    concurrentMax: number,
    retry: Retry,
  ) {
    this.#cas = cas;
    this.#instanceName = instanceName;
    this.#retry = retry;
    this.#reads = new Lane(concurrentMax, (batch) => this.#readBatch(batch));
    this.#writes = new Lane(concurrentMax, (batch) => this.#writeBatch(batch));
  }

  /** Reads and verifies one blob. */
  read(digest: Digest, capabilities: KnownCapabilities, options: CallOptions): Promise<Uint8Array> {
    return this.#reads.add(digest, undefined, capabilities, options.signal);
  }

  /** Writes one blob whose bytes were verified. */
  write(digest: Digest, bytes: Uint8Array, capabilities: KnownCapabilities, options: CallOptions): Promise<void> {
    return this.#writes.add(digest, bytes, capabilities, options.signal);
  }

  async #readBatch(batch: readonly Waiting<Uint8Array>[]): Promise<void> {
    const request = {
      instanceName: this.#instanceName,
      digests: unique(batch).map(({ digest }) => digestToWire(digest)),
      acceptableCompressors: batch[0]!.capabilities.zstdStreams ? [Compressor_Value.ZSTD] : [],
    };
    const { responses } = await this.#retry.run({}, () => this.#cas.batchReadBlobs(request));
    const byDigest = responsesByDigest(responses);
    for (const waiting of batch) {
      const response = byDigest.get(formatDigest(waiting.digest));
      await bytesOf(response, waiting.digest).then(waiting.resolve, waiting.reject);
    }
  }

  async #writeBatch(batch: readonly Waiting<void>[]): Promise<void> {
    const requests = await Promise.all(
      unique(batch).map(async ({ digest, bytes, capabilities }) => {
        const plain = { digest: digestToWire(digest), data: bytes! };
        if (!capabilities.zstdBatchUpdates) return plain;
        const data = await compressedIfShorter(bytes!);
        return data === undefined ? plain : { ...plain, data, compressor: Compressor_Value.ZSTD };
      }),
    );
    const request = { instanceName: this.#instanceName, requests };
    const { responses } = await this.#retry.run({}, () => this.#cas.batchUpdateBlobs(request));
    const byDigest = responsesByDigest(responses);
    for (const { digest, resolve, reject } of batch) {
      const response = byDigest.get(formatDigest(digest));
      const error = response === undefined ? blobNotFound(digest) : errorFromStatus(response.status, digest);
      if (error === undefined) resolve();
      else reject(error);
    }
  }
}

/** One direction: what waits, and how many calls are under way. */
class Lane<Answer> {
  readonly #concurrentMax: number;
  readonly #send: (batch: readonly Waiting<Answer>[]) => Promise<void>;
  #waiting: Waiting<Answer>[] = [];
  #underWay = 0;
  #isScheduled = false;

  constructor(concurrentMax: number, send: (batch: readonly Waiting<Answer>[]) => Promise<void>) {
    this.#concurrentMax = concurrentMax;
    this.#send = send;
  }

  async add(
    digest: Digest,
    bytes: Uint8Array | undefined,
    capabilities: KnownCapabilities,
    signal: AbortSignal | undefined,
  ): Promise<Answer> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    this.#waiting.push({ digest, ...(bytes === undefined ? {} : { bytes }), signal, capabilities, resolve, reject });
    // The one who gives up goes at once; the call, which serves others too, goes on without it.
    const onAbort = (): void => reject(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#schedule();
    return promise.finally(() => signal?.removeEventListener('abort', onAbort));
  }

  /** Waits for the end of the present turn, so that what is asked for in one go leaves in one call. */
  #schedule(): void {
    if (this.#isScheduled || this.#underWay >= this.#concurrentMax) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      while (this.#underWay < this.#concurrentMax && this.#sendNext());
    });
  }

  #sendNext(): boolean {
    this.#waiting = this.#waiting.filter(({ signal }) => signal?.aborted !== true);
    const first = this.#waiting[0];
    if (first === undefined) return false;
    let bytes = 0;
    let count = 0;
    for (const { digest } of this.#waiting) {
      bytes += digest.sizeBytes;
      if (count >= entriesMax || (count > 0 && bytes > first.capabilities.batchTotalBytesMax)) break;
      count++;
    }
    const batch = this.#waiting.splice(0, count);
    this.#underWay++;
    void this.#send(batch)
      .catch((error: unknown) => {
        for (const { reject } of batch) reject(error);
      })
      .finally(() => {
        this.#underWay--;
        this.#schedule();
      });
    return true;
  }
}

async function bytesOf(response: BatchReadBlobsResponse_Response | undefined, digest: Digest): Promise<Uint8Array> {
  if (response === undefined) throw blobNotFound(digest);
  const error = errorFromStatus(response.status, digest);
  if (error !== undefined) throw error;
  const bytes = await plainBytes(response, digest);
  const actual = digestOfBytes(bytes);
  if (!digestEquals(actual, digest)) throw digestMismatch(digest, actual);
  return bytes;
}

async function plainBytes(response: BatchReadBlobsResponse_Response, digest: Digest): Promise<Uint8Array> {
  if (response.compressor !== Compressor_Value.ZSTD) return response.data;
  try {
    return await zstdDecompressBytes(response.data, digest.sizeBytes);
  } catch (error) {
    if (error instanceof RangeError || isZstdError(error)) throw digestMismatch(digest, { sizeBytes: 0 });
    throw error;
  }
}

function unique<T extends { readonly digest: Digest }>(batch: readonly T[]): T[] {
  return [...new Map(batch.map((waiting) => [formatDigest(waiting.digest), waiting])).values()];
}

function responsesByDigest<T extends { readonly digest?: { hash: string; sizeBytes: bigint } | undefined }>(
  responses: readonly T[],
): Map<string, T> {
  return new Map(responses.map((response) => [`${response.digest?.hash}/${response.digest?.sizeBytes}`, response]));
}
