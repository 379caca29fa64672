import fc from 'fast-check';
import { expect, test } from 'vitest';
import { coarseBytes } from './coarse-bytes.ts';

const bytes = fc.integer({ min: 0, max: 2 ** 50 });

test('coarse is at most, and never far from, what it stands for', () => {
  fc.assert(
    fc.property(bytes, (amount) => {
      const coarse = coarseBytes(amount);
      expect(coarse).toBeLessThanOrEqual(amount);
      expect(amount - coarse).toBeLessThanOrEqual(amount / 8);
      expect(coarseBytes(coarse)).toBe(coarse);
    }),
  );
});

test('an amount that goes to and fro by less than a quarter of a step is told once', () => {
  fc.assert(
    fc.property(bytes, fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { maxLength: 20 }), (amount, moves) => {
      const start = coarseBytes(amount);
      let told = start;
      for (const move of moves) told = coarseBytes(Math.max(0, start + (move * start) / 64), told);
      expect(told).toBe(start);
    }),
  );
});

test('an amount that has moved far is told as it is', () => {
  fc.assert(
    fc.property(bytes, bytes, (before, amount) => {
      const told = coarseBytes(amount, coarseBytes(before));
      expect(Math.abs(amount - told)).toBeLessThanOrEqual(Math.max(amount, told) / 4 + 1);
    }),
  );
});
