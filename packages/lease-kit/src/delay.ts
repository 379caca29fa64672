import type { Clock } from './clock.ts';

/**
 * Resolves after `delayMs` (≥ 0) of `clock`, or at once when `signal` is aborted, before or meanwhile; it never rejects. Who
 * must stop then asks the signal afterwards. Absent means that nothing cuts the wait short.
 */
export function delay(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) return resolve();
    const done = (): void => {
      timer.cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.schedule(delayMs, done);
    signal?.addEventListener('abort', done);
  });
}
