import type { Client } from '@connectrpc/connect';
import { zstdAvailable, type CallOptions } from '@drover/content-store';
import { DroverError } from '@drover/lease-kit';
import {
  Compressor_Value,
  DigestFunction_Value,
  type Capabilities,
  type ServerCapabilities,
} from '@drover/standard-protocols';
import type { Retry } from './retry.ts';

/** What matters here of what a server supports. */
export interface KnownCapabilities {
  /** The most bytes of blobs in a batch. */
  readonly batchTotalBytesMax: number;
  readonly blobSizeBytesMax: number;
  /** Whether blobs may travel as zstd: in streams and as batch downloads; in batch uploads. */
  readonly zstdStreams: boolean;
  readonly zstdBatchUpdates: boolean;
}

/** What fits into a gRPC message of 4 MiB beside the names of the blobs, for servers that set no limit of their own. */
const batchTotalBytesDefault = 3 * 1024 * 1024;

/** Asks for the capabilities once; a failure is not kept. */
export class RemoteCapabilities {
  readonly #client: Client<typeof Capabilities>;
  readonly #instanceName: string;
  readonly #mayCompress: boolean;
  readonly #retry: Retry;
  #known: Promise<KnownCapabilities> | undefined;

  constructor(client: Client<typeof Capabilities>, instanceName: string, mayCompress: boolean, retry: Retry) {
    this.#client = client;
    this.#instanceName = instanceName;
    this.#mayCompress = mayCompress && zstdAvailable;
    this.#retry = retry;
  }

  /** On abort it rejects with the signal's reason; the question itself goes on for the others who wait for it. */
  async get({ signal }: CallOptions): Promise<KnownCapabilities> {
    const known = (this.#known ??= this.#ask());
    if (signal === undefined) return known;
    const aborted = Promise.withResolvers<never>();
    const onAbort = (): void => aborted.reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    return Promise.race([known, aborted.promise]).finally(() => signal.removeEventListener('abort', onAbort));
  }

  async #ask(): Promise<KnownCapabilities> {
    try {
      const request = { instanceName: this.#instanceName };
      return this.#understand(await this.#retry.run({}, () => this.#client.getCapabilities(request)));
    } catch (error) {
      this.#known = undefined;
      throw error;
    }
  }

  #understand({ cacheCapabilities: cache }: ServerCapabilities): KnownCapabilities {
    if (cache === undefined || !cache.digestFunctions.includes(DigestFunction_Value.SHA256)) {
      const message = 'the server is no content store with SHA256 digests, which are the only ones supported';
      throw new DroverError({ code: 'CONTENT_STORE_REFUSED', advice: 'fix-input', message });
    }
    const announced = Number(cache.maxBatchTotalSizeBytes);
    const largest = Number(cache.maxCasBlobSizeBytes);
    return {
      batchTotalBytesMax: announced === 0 ? batchTotalBytesDefault : Math.min(announced, batchTotalBytesDefault),
      blobSizeBytesMax: largest === 0 ? Number.MAX_SAFE_INTEGER : largest,
      zstdStreams: this.#mayCompress && cache.supportedCompressors.includes(Compressor_Value.ZSTD),
      zstdBatchUpdates: this.#mayCompress && cache.supportedBatchUpdateCompressors.includes(Compressor_Value.ZSTD),
    };
  }
}
