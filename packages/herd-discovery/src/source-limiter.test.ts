import { expect, test } from 'vitest';
import { SourceLimiter } from './source-limiter.ts';

const taken = (limiter: SourceLimiter, source: string, times: number, atMs: number): number =>
  Array.from({ length: times }, () => limiter.take(source, atMs)).filter(Boolean).length;

test('a source has its burst at once, and then its rate', () => {
  const limiter = new SourceLimiter({ perSourcePerSecond: 10, perSourceBurst: 5 });
  expect(taken(limiter, 'a', 100, 0)).toBe(5);
  expect(taken(limiter, 'a', 100, 1_000)).toBe(5);
  expect(taken(limiter, 'a', 100, 1_250)).toBe(2);
});

test('one source takes nothing from another, and all together have a bound', () => {
  const limiter = new SourceLimiter({ perSourceBurst: 5, overallBurst: 8, overallPerSecond: 1 });
  expect(taken(limiter, 'a', 100, 0)).toBe(5);
  expect(taken(limiter, 'b', 100, 0)).toBe(3);
  expect(taken(limiter, 'c', 100, 0)).toBe(0);
  expect(taken(limiter, 'c', 100, 2_000)).toBe(2);
});

test('a flood of sources does not grow the table', () => {
  const limiter = new SourceLimiter({ sourcesMax: 10, perSourceBurst: 1 });
  for (let n = 0; n < 1_000; n += 1) limiter.take(`source-${n}`, 0);
  expect(limiter.size).toBe(10);
  // Those of late are still held back.
  expect(limiter.take('source-999', 0)).toBe(false);
});

test('time that goes back gives nothing', () => {
  const limiter = new SourceLimiter({ perSourceBurst: 2 });
  expect(taken(limiter, 'a', 2, 1_000)).toBe(2);
  expect(limiter.take('a', 0)).toBe(false);
});
