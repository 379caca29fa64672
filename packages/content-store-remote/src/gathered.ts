/**
 * Puts small chunks together until there are `sizeBytesMin` bytes or the source has nothing ready, so that many small
 * chunks cost little and a slow source is not held back.
 */
export async function* gathered(source: AsyncIterable<Uint8Array>, sizeBytesMin: number): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  let kept: Uint8Array[] = [];
  let keptBytes = 0;
  const take = (): Uint8Array => {
    const chunk = kept.length === 1 ? kept[0]! : Buffer.concat(kept, keptBytes);
    kept = [];
    keptBytes = 0;
    return chunk;
  };
  let isEnded = false;
  try {
    for (;;) {
      const step = iterator.next();
      if (keptBytes > 0 && !(await isReady(step))) yield take();
      const next = await step;
      if (next.done === true) break;
      kept.push(next.value);
      keptBytes += next.value.byteLength;
      if (keptBytes >= sizeBytesMin) yield take();
    }
    isEnded = true;
    if (keptBytes > 0) yield take();
  } finally {
    if (!isEnded) await iterator.return?.();
  }
}

/** Whether a promise settles before the event loop has gone round. */
async function isReady(promise: Promise<unknown>): Promise<boolean> {
  const { promise: tick, resolve } = Promise.withResolvers<boolean>();
  const immediate = setImmediate(resolve, false);
  return Promise.race([promise.then(() => true), tick]).finally(() => clearImmediate(immediate));
}
