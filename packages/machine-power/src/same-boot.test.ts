import { expect, test } from 'vitest';
import { isSameBoot } from './same-boot.ts';

test.each([
  ['a', 'a', true],
  ['a', 'b', false],
  ['started-29000000', 'started-29000000', true],
  ['started-29000000', 'started-29000002', true],
  ['started-29000000', 'started-29000003', false],
  ['started-29000000', 'a', false],
  ['started-x', 'started-y', false],
])('%s and %s: %s', (a, b, isSame) => {
  expect(isSameBoot(a, b)).toBe(isSame);
});
