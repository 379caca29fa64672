import { describe, expect, test } from 'vitest';
import { median, quantile, rounded, summarize } from './statistics.ts';

describe('quantile', () => {
  test('lies between the two samples next to it', () => {
    expect(quantile([10, 20], 0.25)).toBe(12.5);
    expect(quantile([1, 2, 3, 4], 0.5)).toBe(2.5);
    // NumPy: percentile([1..100], 99) = 99.01
    expect(
      quantile(
        Array.from({ length: 100 }, (_, index) => 100 - index),
        0.99,
      ),
    ).toBeCloseTo(99.01, 10);
  });

  test('of one sample is that sample', () => {
    expect(quantile([7], 0)).toBe(7);
    expect(quantile([7], 1)).toBe(7);
  });

  test('sorts by number, negative ones first, and leaves the samples as they are', () => {
    const samples = [10, -2, 9];
    expect(quantile(samples, 0)).toBe(-2);
    expect(samples).toEqual([10, -2, 9]);
  });

  test('refuses what has no answer', () => {
    expect(() => quantile([], 0.5)).toThrow(RangeError);
    expect(() => quantile([1, Number.NaN], 0.5)).toThrow(RangeError);
    expect(() => quantile([1], 1.5)).toThrow(RangeError);
  });
});

test('the median of an odd number of samples is the middle one', () => {
  expect(median([9, 1, 5])).toBe(5);
});

test('a summary holds all of them', () => {
  expect(summarize([5, 1, 4, 2, 3])).toEqual({ count: 5, min: 1, p50: 3, p90: 4.6, p99: 4.96, max: 5, mean: 3 });
});

test('rounding keeps significant digits', () => {
  expect(rounded(1234.567)).toBe(1235);
  expect(rounded(0.000123456)).toBe(0.0001235);
  expect(rounded(0)).toBe(0);
});
