import { Code, ConnectError, type Client } from '@connectrpc/connect';
import {
  createDigestHasher,
  digestEquals,
  digestMismatch,
  formatDigest,
  zstdCompressed,
  type ByteSource,
  type CallOptions,
  type Digest,
} from '@drover/content-store';
import type { ByteStream, WriteRequestSchema } from '@drover/standard-protocols';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { randomUUID } from 'node:crypto';
import { errorFromRemote, isTransient } from './error-from-remote.ts';
import type { KnownCapabilities } from './remote-capabilities.ts';
import { gathered } from './gathered.ts';
import { replayableSource, type ReplayableSource } from './replayable-source.ts';
import type { Retry } from './retry.ts';
import { compressionSampleBytes, worthCompressing } from './worth-compressing.ts';

/** How a blob is written. */
export interface WriteBlobStreamOptions extends CallOptions {
  readonly capabilities: KnownCapabilities;
  readonly retry: Retry;
  readonly replayBytesMax: number;
}

/** The most data in one request, far below what gRPC servers take by default. */
const requestDataBytesMax = 256 * 1024;

/** Smaller pieces are put together, as every request has a price. */
const requestDataBytesMin = 64 * 1024;

/** What the source threw, or why its bytes do not match; absent while neither has happened. */
interface SourceFailure {
  cause?: unknown;
}

/**
 * Writes a large blob. After a broken stream it asks how much arrived and goes on there. The bytes are hashed on their way
 * as far as they go out in order, so that a source that does not match is never completed, whatever the server checks.
 */
export async function writeBlobStream(
  bytes: Client<typeof ByteStream>,
  instanceName: string,
  digest: Digest,
  source: ByteSource,
  options: WriteBlobStreamOptions,
): Promise<void> {
  const call = options.signal === undefined ? {} : { signal: options.signal };
  await using replayable = replayableSource(source, options.replayBytesMax, options.signal);
  const isCompressed = options.capabilities.zstdStreams && (await beginsCompressible(replayable));
  const prefix = instanceName === '' ? '' : `${instanceName}/`;
  const kind = isCompressed ? 'compressed-blobs/zstd' : 'blobs';
  const resourceName = `${prefix}uploads/${randomUUID()}/${kind}/${formatDigest(digest)}`;
  const check = new SourceCheck(digest);
  const attempts = options.retry.attempts(options, digest);
  let committed = 0;
  for (;;) {
    const failure: SourceFailure = {};
    const requests = requestsFrom(replayable, { resourceName, offset: committed, isCompressed, check }, failure);
    try {
      const { committedSize } = await bytes.write(requests, call);
      if (failure.cause !== undefined) throw failure.cause;
      refuseIncomplete(committedSize, digest, isCompressed);
      return;
    } catch (error) {
      options.signal?.throwIfAborted();
      // Not the connection's fault: another attempt could mend nothing.
      if (failure.cause !== undefined) throw failure.cause;
      const mayBeOffset = committed > 0 && error instanceof ConnectError && error.code === Code.InvalidArgument;
      await attempts.failed(error, mayBeOffset || isTransient(error));
      const now = await committedSize(bytes, resourceName, options);
      // The server may still have been busy with the broken stream when it was asked. If not, it refused the bytes.
      if (mayBeOffset && now === committed) throw errorFromRemote(error, digest);
      if (now === 'complete') return;
      if (now > committed && !mayBeOffset) attempts.succeeded();
      committed = now;
    } finally {
      // A server that has the blob answers before it has read everything; the source must be let go all the same.
      void requests.return(undefined).catch(() => undefined);
    }
  }
}

async function* requestsFrom(
  source: ReplayableSource,
  write: { resourceName: string; offset: number; isCompressed: boolean; check: SourceCheck },
  failure: SourceFailure,
): AsyncGenerator<MessageInitShape<typeof WriteRequestSchema>, void, undefined> {
  const { resourceName, offset, isCompressed, check } = write;
  const checked = async function* (): AsyncGenerator<Uint8Array> {
    let at = offset;
    try {
      for await (const chunk of source.from(offset)) {
        check.see(chunk, at);
        at += chunk.byteLength;
        yield chunk;
      }
      check.end(at);
    } catch (error) {
      failure.cause = error;
      throw error;
    }
  };
  let writeOffset = BigInt(offset);
  for await (const chunk of gathered(isCompressed ? zstdCompressed(checked()) : checked(), requestDataBytesMin)) {
    for (let from = 0; from < chunk.byteLength; from += requestDataBytesMax) {
      const data = chunk.subarray(from, from + requestDataBytesMax);
      yield { resourceName, writeOffset, data };
      writeOffset += BigInt(data.byteLength);
    }
  }
  yield { resourceName, writeOffset, finishWrite: true };
}

/** Hashes what goes out, once, in order, however often parts of it are sent again. */
class SourceCheck {
  readonly #digest: Digest;
  readonly #hasher = createDigestHasher();
  #actual: Digest | undefined;
  /** A resume behind what was hashed (the server had more than we sent in order) leaves the check to the server. */
  #isComplete = true;

  constructor(digest: Digest) {
    this.#digest = digest;
  }

  see(chunk: Uint8Array, at: number): void {
    if (at + chunk.byteLength > this.#digest.sizeBytes) {
      throw digestMismatch(this.#digest, { sizeBytes: at + chunk.byteLength });
    }
    const seen = this.#hasher.sizeBytes;
    if (at > seen) this.#isComplete = false;
    else if (at + chunk.byteLength > seen) this.#hasher.update(chunk.subarray(seen - at));
  }

  end(at: number): void {
    if (at !== this.#digest.sizeBytes) throw digestMismatch(this.#digest, { sizeBytes: at });
    if (!this.#isComplete) return;
    this.#actual ??= this.#hasher.digest(); // the end may have to be sent more than once
    if (!digestEquals(this.#actual, this.#digest)) throw digestMismatch(this.#digest, this.#actual);
  }
}

async function committedSize(
  bytes: Client<typeof ByteStream>,
  resourceName: string,
  options: WriteBlobStreamOptions,
): Promise<number | 'complete'> {
  return options.retry.run(options, async (call) => {
    try {
      const status = await bytes.queryWriteStatus({ resourceName }, call);
      return status.complete ? 'complete' : Number(status.committedSize);
    } catch (error) {
      // Not known, or not a thing that this server does: begin again.
      if (error instanceof ConnectError && [Code.NotFound, Code.Unimplemented].includes(error.code)) return 0;
      throw error;
    }
  });
}

/**
 * Servers differ in what they answer to a compressed write: the compressed bytes, the size of the blob, or -1. Only an
 * uncompressed one has an answer that can be wrong.
 */
function refuseIncomplete(committedSize: bigint, digest: Digest, isCompressed: boolean): void {
  if (isCompressed || committedSize === BigInt(digest.sizeBytes)) return;
  throw new ConnectError(`the server committed ${committedSize} of ${digest.sizeBytes} bytes`, Code.Unavailable);
}

async function beginsCompressible(source: ReplayableSource): Promise<boolean> {
  const sample: Uint8Array[] = [];
  let sampledBytes = 0;
  for await (const chunk of source.from(0)) {
    sample.push(chunk);
    sampledBytes += chunk.byteLength;
    if (sampledBytes >= compressionSampleBytes) break;
  }
  return worthCompressing(Buffer.concat(sample).subarray(0, compressionSampleBytes));
}
