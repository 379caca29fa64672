import type { Client } from '@connectrpc/connect';
import {
  digestMismatch,
  formatDigest,
  isZstdError,
  zstdDecompressed,
  type CallOptions,
  type Digest,
} from '@drover/content-store';
import type { ByteStream } from '@drover/standard-protocols';
import type { KnownCapabilities } from './remote-capabilities.ts';
import type { Attempts, Retry } from './retry.ts';
import { compressionSampleBytes, worthCompressing } from './worth-compressing.ts';

/** How a blob is read. */
export interface ReadBlobStreamOptions extends CallOptions {
  readonly capabilities: KnownCapabilities;
  readonly retry: Retry;
}

/**
 * Reads a part of a blob, and goes on after a broken stream with the first byte that did not come. Where zstd is offered,
 * the beginning comes plain and shows whether the rest should come compressed.
 */
export async function* readBlobStream(
  bytes: Client<typeof ByteStream>,
  instanceName: string,
  digest: Digest,
  range: { readonly start: number; readonly end: number },
  options: ReadBlobStreamOptions,
): AsyncGenerator<Uint8Array> {
  const prefix = instanceName === '' ? '' : `${instanceName}/`;
  const attempts = options.retry.attempts(options, digest);
  const call = options.signal === undefined ? {} : { signal: options.signal };
  const plain = (start: number, end: number): AsyncIterable<Uint8Array> =>
    dataOf(
      bytes.read(
        {
          resourceName: `${prefix}blobs/${formatDigest(digest)}`,
          readOffset: BigInt(start),
          readLimit: BigInt(end === digest.sizeBytes ? 0 : end - start),
        },
        call,
      ),
    );
  const compressed = (start: number): AsyncIterable<Uint8Array> => {
    const resourceName = `${prefix}compressed-blobs/zstd/${formatDigest(digest)}`;
    return zstdDecompressed(dataOf(bytes.read({ resourceName, readOffset: BigInt(start) }, call)));
  };

  let at = range.start;
  // The standard has no limit for a compressed read, so it is for parts that reach to the end.
  if (
    options.capabilities.zstdStreams &&
    range.end === digest.sizeBytes &&
    range.end - at > 4 * compressionSampleBytes
  ) {
    const head: Uint8Array[] = [];
    const headEnd = at + compressionSampleBytes;
    for await (const chunk of resumed(plain, { start: at, end: headEnd }, digest, attempts)) {
      head.push(chunk);
      yield chunk;
    }
    at = headEnd;
    if (await worthCompressing(Buffer.concat(head))) {
      yield* resumed(compressed, { start: at, end: range.end }, digest, attempts);
      return;
    }
  }
  yield* resumed(plain, { start: at, end: range.end }, digest, attempts);
}

async function* resumed(
  open: (start: number, end: number) => AsyncIterable<Uint8Array>,
  range: { readonly start: number; readonly end: number },
  digest: Digest,
  attempts: Attempts,
): AsyncGenerator<Uint8Array> {
  for (let at = range.start; at < range.end;) {
    try {
      for await (const chunk of open(at, range.end)) {
        at += chunk.byteLength;
        if (at > range.end) throw digestMismatch(digest, { sizeBytes: at });
        attempts.succeeded();
        yield chunk;
      }
      if (at < range.end) throw digestMismatch(digest, { sizeBytes: at });
    } catch (error) {
      if (isZstdError(error)) throw digestMismatch(digest, { sizeBytes: at });
      await attempts.failed(error);
    }
  }
}

async function* dataOf(responses: AsyncIterable<{ readonly data: Uint8Array }>): AsyncGenerator<Uint8Array> {
  for await (const { data } of responses) if (data.byteLength > 0) yield data;
}
