import { getEventListeners } from 'node:events';
import { expect, test } from 'vitest';
import { delay } from './delay.ts';
import { ManualClock } from './testing/index.ts';

test('it waits for as long as it was told', async () => {
  const clock = new ManualClock();
  const { signal } = new AbortController();
  let isOver = false;
  const waited = delay(clock, 100, signal).then(() => (isOver = true));
  clock.advance(99);
  await Promise.resolve();
  expect(isOver).toBe(false);
  clock.advance(1);
  await waited;
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});

test('an abort ends it and takes its timer away', async () => {
  const clock = new ManualClock();
  const stop = new AbortController();
  const waited = delay(clock, 100, stop.signal);
  stop.abort();
  await waited;
  await delay(clock, 100, stop.signal);
  expect(clock.pendingCalls).toBe(0);
});

test('it needs no signal', async () => {
  const clock = new ManualClock();
  const waited = delay(clock, 0);
  clock.advance(0);
  await waited;
});
