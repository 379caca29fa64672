/** So many at once; others wait in order. An abort leaves the queue and throws the signal's reason. */
export function createSlots(max: number): { take(signal: AbortSignal): Promise<Disposable> } {
  let free = max;
  const waiting: (() => void)[] = [];
  const release = (): void => {
    const next = waiting.shift();
    if (next === undefined) free++;
    else next();
  };
  return {
    async take(signal) {
      signal.throwIfAborted();
      if (free > 0) free--;
      else {
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        const onAbort = (): void => {
          waiting.splice(waiting.indexOf(resolve), 1);
          reject(signal.reason as Error);
        };
        waiting.push(resolve);
        signal.addEventListener('abort', onAbort, { once: true });
        await promise;
        signal.removeEventListener('abort', onAbort);
      }
      return { [Symbol.dispose]: release };
    },
  };
}
