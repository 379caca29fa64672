import { bytesFrom, type ByteSource } from '@drover/content-store';
import { DroverError } from '@drover/lease-kit';

/** A source that can be read again from an earlier offset, as far as it can. */
export interface ReplayableSource extends AsyncDisposable {
  /** The bytes from `offset` on. Throws `CONTENT_STORE_UNAVAILABLE` if they are gone. */
  from(offset: number): AsyncIterable<Uint8Array>;
}

/** Bytes and functions can be read from anywhere; of anything else the last `replayBytesMax` bytes are kept. */
export function replayableSource(
  source: ByteSource,
  replayBytesMax: number,
  signal: AbortSignal | undefined,
): ReplayableSource {
  if (source instanceof Uint8Array) {
    return {
      from: (offset) => bytesFrom(source.subarray(offset), signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  }
  if (typeof source === 'function') {
    return { from: (offset) => bytesFrom(() => source(offset), signal), [Symbol.asyncDispose]: async () => undefined };
  }
  return new OneShotSource(bytesFrom(source, signal), replayBytesMax);
}

class OneShotSource implements ReplayableSource {
  readonly #iterator: AsyncIterator<Uint8Array>;
  readonly #replayBytesMax: number;
  /** The last chunks that were read, one behind the other, ending at `#position`. */
  readonly #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #position = 0;
  #reading: Promise<IteratorResult<Uint8Array>> | undefined;

  constructor(source: AsyncIterable<Uint8Array>, replayBytesMax: number) {
    this.#iterator = source[Symbol.asyncIterator]();
    this.#replayBytesMax = replayBytesMax;
  }

  async *from(offset: number): AsyncGenerator<Uint8Array> {
    let at = offset;
    for (;;) {
      if (at < this.#position) {
        const chunk = this.#keptFrom(at);
        at += chunk.byteLength;
        yield chunk;
      } else if (!(await this.#readOn())) {
        return;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    void this.#iterator.return?.();
  }

  /** Reads one more chunk; a read that a broken stream left behind is waited for, not made twice. */
  async #readOn(): Promise<boolean> {
    this.#reading ??= this.#iterator.next();
    const next = await this.#reading;
    this.#reading = undefined;
    if (next.done === true) {
      this.#reading = Promise.resolve(next);
      return false;
    }
    this.#kept.push(next.value);
    this.#keptBytes += next.value.byteLength;
    this.#position += next.value.byteLength;
    while (this.#kept.length > 1 && this.#keptBytes - this.#kept[0]!.byteLength >= this.#replayBytesMax) {
      this.#keptBytes -= this.#kept.shift()!.byteLength;
    }
    return true;
  }

  #keptFrom(offset: number): Uint8Array {
    let start = this.#position - this.#keptBytes;
    for (const chunk of this.#kept) {
      if (offset >= start && offset < start + chunk.byteLength) return chunk.subarray(offset - start);
      start += chunk.byteLength;
    }
    const message = `the upload broke at byte ${offset} and its source can't be read again from there: give a function`;
    throw new DroverError({ code: 'CONTENT_STORE_UNAVAILABLE', advice: 'conflict', message });
  }
}
