import type { ByteSource } from './content-store.ts';
import type { Digest } from './digest.ts';
import { rangeInvalid } from './content-errors.ts';

/**
 * The bytes of a source from its start. On abort the iteration rejects with the signal's reason at once, even if the
 * source is waiting; the source is told to stop and not waited for.
 */
export function bytesFrom(source: ByteSource, signal?: AbortSignal): AsyncIterable<Uint8Array> {
  if (source instanceof Uint8Array) return abortable([source], signal);
  return abortable(typeof source === 'function' ? source(0) : source, signal);
}

/** Collects a blob's bytes. Rejects with a `RangeError` beyond `sizeBytesMax`, before keeping more. */
export async function collectBytes(chunks: AsyncIterable<Uint8Array>, sizeBytesMax: number): Promise<Uint8Array> {
  const kept: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of chunks) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes > sizeBytesMax) throw new RangeError(`more than ${sizeBytesMax} bytes`);
    kept.push(chunk);
  }
  return kept.length === 1 ? kept[0]! : Buffer.concat(kept, sizeBytes);
}

/** The first byte of a part and the one behind its last. Throws `RANGE_INVALID`. For those who implement `read`. */
export function byteRange(
  digest: Digest,
  range: { readonly offset?: number; readonly limit?: number },
): { start: number; end: number } {
  const { offset = 0, limit } = range;
  const ok = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;
  if (!ok(offset) || offset > digest.sizeBytes || (limit !== undefined && !ok(limit))) {
    throw rangeInvalid(digest, offset, limit);
  }
  return { start: offset, end: limit === undefined ? digest.sizeBytes : Math.min(digest.sizeBytes, offset + limit) };
}

async function* abortable(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  signal?.throwIfAborted();
  if (signal === undefined) {
    yield* source;
    return;
  }
  const aborted = Promise.withResolvers<never>();
  aborted.promise.catch(() => undefined); // it may reject when nobody races it
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  let ended = false;
  try {
    for (;;) {
      const step = await Promise.race([iterator.next(), aborted.promise]);
      if (step.done === true) {
        ended = true;
        return;
      }
      yield step.value;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    // A source that never answers must not hold up the caller: asked to stop, not waited for.
    if (!ended) void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}
