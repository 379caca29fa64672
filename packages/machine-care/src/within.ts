import type { Clock } from '@drover/lease-kit';

/** What comes of `work` in time; `'late'` where it takes longer. Rejects as the work does. */
export async function within<Value>(work: Promise<Value>, limitMs: number, clock: Clock): Promise<Value | 'late'> {
  const late = Promise.withResolvers<'late'>();
  const timer = clock.schedule(limitMs, () => late.resolve('late'));
  // When it fails after that, nobody asks any more.
  work.catch(() => undefined);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    timer.cancel();
  }
}
