import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import {
  blobTooLarge,
  digestMismatch,
  isZstdError,
  rangeInvalid,
  zstdCompressed,
  zstdDecompressed,
  type BlobUpload,
} from '@drover/content-store';
import { principalName, type Clock, type Principal } from '@drover/lease-kit';
import type { ByteStream, WriteRequest } from '@drover/standard-protocols';
import { CallSlots } from './call-slots.ts';
import type { ContentServiceDeps, ResolvedLimits } from './content-service-options.ts';
import { parseResourceName, type BlobResource } from './resource-name.ts';
import { serviceError } from './service-errors.ts';

/** The most data in one response, far below what gRPC clients take by default. */
const responseDataBytesMax = 256 * 1024;

/** The handlers of google.bytestream.ByteStream over a store. */
export function createByteStreamService(
  store: ContentServiceDeps['store'],
  principalOf: (context: HandlerContext) => Principal,
  limits: ResolvedLimits,
  clock: Clock,
): ServiceImpl<typeof ByteStream> {
  const reads = new CallSlots('reads', limits.concurrentReadsMax);
  const writes = new CallSlots('writes', limits.concurrentWritesMax, limits.concurrentWritesPerPrincipalMax);
  return {
    async *read(request, context) {
      using _ = reads.take(principalOf(context));
      const { digest, compressor } = parseResourceName(request.resourceName, 'read');
      const offset = Number(request.readOffset);
      const limit = Number(request.readLimit);
      if (limit < 0) throw serviceError('READ_LIMIT_INVALID', `read_limit ${limit} is negative`);
      if (offset < 0 || offset > digest.sizeBytes) throw rangeInvalid(digest, offset, undefined);
      if (limit !== 0 && compressor !== 'identity') {
        throw serviceError('READ_LIMIT_INVALID', 'read_limit must be 0 for a compressed blob');
      }
      const plain = store.read(digest, { offset, ...(limit === 0 ? {} : { limit }), signal: context.signal });
      for await (const chunk of compressor === 'zstd' ? zstdCompressed(plain) : plain) {
        for (let at = 0; at < chunk.byteLength; at += responseDataBytesMax) {
          yield { data: chunk.subarray(at, at + responseDataBytesMax) };
        }
      }
    },

    async write(requests, context) {
      const principal = principalOf(context);
      using _ = writes.take(principal);
      const messages = withoutStall(requests, limits.writeStallMs, clock);
      const first = await messages.next();
      if (first.done === true) throw serviceError('WRITE_REQUEST_INVALID', 'the write has no request');
      const resource = parseResourceName(first.value.resourceName, 'write');
      const { digest, compressor } = resource;
      if (digest.sizeBytes > limits.blobSizeBytesMax) throw blobTooLarge(digest, limits.blobSizeBytesMax);
      if ((await store.findMissing([digest], { signal: context.signal })).length === 0) {
        return { committedSize: compressor === 'identity' ? BigInt(digest.sizeBytes) : -1n };
      }

      const upload = await openUpload(store, principal, resource, Number(first.value.writeOffset), context.signal);
      try {
        const sent = new SentData(first.value, messages);
        const size = await receive(upload, sent, compressor);
        return { committedSize: BigInt(size) };
      } finally {
        await upload.suspend(); // harmless after its end
      }
    },

    async queryWriteStatus(request, context) {
      const principal = principalOf(context);
      const resource = parseResourceName(request.resourceName, 'write');
      const call = { signal: context.signal };
      const status = await store.uploadStatus(uploadIdOf(principal, resource), resource.digest, call);
      if (status === undefined) {
        throw serviceError('UPLOAD_UNKNOWN', 'nothing is known of this write: begin it at 0', 'not-found');
      }
      return { committedSize: BigInt(status.committedBytes), complete: status.complete };
    },
  };
}

/** A principal can continue its own uploads only, whatever ids others use. */
function uploadIdOf(principal: Principal, resource: BlobResource): string {
  return `${principalName(principal)} ${resource.uploadId!}`;
}

async function openUpload(
  store: ContentServiceDeps['store'],
  principal: Principal,
  resource: BlobResource,
  offset: number,
  signal: AbortSignal,
): Promise<BlobUpload> {
  // Strictly, an offset that is not the committed size is an error. But clients (Google's Go SDK) begin a failed write
  // again at 0 under the same name, and what they mean is clear; and one that asked for the committed size while its
  // broken stream was still being read here sends a little again, which is skipped.
  const upload = await store.openUpload(uploadIdOf(principal, resource), resource.digest, {
    restart: offset === 0,
    signal,
  });
  if (offset >= 0 && offset <= upload.committedBytes) return upload;
  const { committedBytes } = upload;
  if (committedBytes === 0) await upload.discard();
  else await upload.suspend();
  throw serviceError('WRITE_REQUEST_INVALID', `write_offset ${offset} is wrong: ${committedBytes} is right`);
}

/** Receives the data; returns the committed size to answer with. */
async function receive(upload: BlobUpload, sent: SentData, compressor: 'identity' | 'zstd'): Promise<number> {
  let toSkip = upload.committedBytes - sent.nextOffset;
  try {
    for await (const chunk of compressor === 'zstd' ? zstdDecompressed(sent.data()) : sent.data()) {
      if (toSkip < chunk.byteLength) await upload.append(chunk.subarray(toSkip));
      toSkip = Math.max(0, toSkip - chunk.byteLength);
    }
  } catch (error) {
    if (!isZstdError(error)) throw error;
    // A stream that stopped early ends inside a frame: what came out of it so far is kept.
    if (sent.hasEnded && !sent.isFinished) return upload.committedBytes;
    await upload.discard();
    throw digestMismatch(upload.digest, { sizeBytes: upload.committedBytes });
  }
  if (!sent.isFinished) return upload.committedBytes;
  await upload.commit();
  // Of a compressed write: where it began plus the compressed bytes, which is what the standard's clients expect.
  return compressor === 'identity' ? upload.digest.sizeBytes : sent.nextOffset;
}

/** The data of a write, with each request checked against the ones before. */
class SentData {
  readonly #first: WriteRequest;
  readonly #following: AsyncIterator<WriteRequest>;
  /** What the next request must say as its offset. */
  nextOffset: number;
  /** True once a request said `finish_write`. */
  isFinished = false;
  /** True once the client closed its side. */
  hasEnded = false;

  constructor(first: WriteRequest, following: AsyncIterator<WriteRequest>) {
    this.#first = first;
    this.#following = following;
    this.nextOffset = Number(first.writeOffset);
  }

  async *data(): AsyncGenerator<Uint8Array> {
    for (let request = this.#first; ;) {
      this.#check(request);
      this.nextOffset += request.data.byteLength;
      this.isFinished = request.finishWrite;
      if (request.data.byteLength > 0) yield request.data;
      const next = await this.#following.next();
      if (next.done === true) break;
      request = next.value;
    }
    this.hasEnded = true;
  }

  #check(request: WriteRequest): void {
    const invalid = (why: string): Error => serviceError('WRITE_REQUEST_INVALID', why);
    if (this.isFinished) throw invalid('a request follows the one with finish_write');
    if (request.resourceName !== '' && request.resourceName !== this.#first.resourceName) {
      throw invalid('resource_name differs from the one of the first request');
    }
    if (Number(request.writeOffset) !== this.nextOffset) {
      throw invalid(`write_offset ${request.writeOffset} is wrong: ${this.nextOffset} is right`);
    }
  }
}

/** Ends with `UPLOAD_STALLED` when nothing comes for too long. */
async function* withoutStall<T>(requests: AsyncIterable<T>, stallMs: number, clock: Clock): AsyncGenerator<T, void> {
  const iterator = requests[Symbol.asyncIterator]();
  for (;;) {
    const stalled = Promise.withResolvers<never>();
    const timer = clock.schedule(stallMs, () => {
      const message = `nothing was sent for ${stallMs} ms; what came before is kept for resuming`;
      stalled.reject(serviceError('UPLOAD_STALLED', message, 'unavailable'));
    });
    const next = await Promise.race([iterator.next(), stalled.promise]).finally(() => timer.cancel());
    if (next.done === true) return;
    yield next.value;
  }
}
