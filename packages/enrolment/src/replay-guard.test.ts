import { ManualClock } from '@drover/lease-kit/testing';
import { expect, test } from 'vitest';
import { ReplayGuard } from './replay-guard.ts';

const proof = (sequence: number, nonce = 'n', thumbprint = 'k') => ({ thumbprint, nonce, sequence });

test('each proof once, in any order within the spread', () => {
  const guard = new ReplayGuard(new ManualClock(0), { spread: 4 });
  for (const sequence of [2, 1, 5, 3]) guard.take(proof(sequence));
  for (const sequence of [1, 2, 3, 5]) expect(() => guard.take(proof(sequence))).toThrow(/used before/);
  for (const sequence of [100, 101, 102, 103, 104, 105]) guard.take(proof(sequence));
  // Too far behind to be remembered: refused rather than guessed.
  expect(() => guard.take(proof(4))).toThrow(/used before/);
  guard.take(proof(4, 'another process'));
});

test('memory is bounded by processes, and given back when their proofs are too old', () => {
  const clock = new ManualClock(0);
  const guard = new ReplayGuard(clock, { noncesMax: 3, noncesPerKeyMax: 2 });
  guard.take(proof(1, 'a'));
  guard.take(proof(1, 'b'));
  expect(() => guard.take(proof(1, 'c'))).toThrow(expect.objectContaining({ code: 'PROOFS_TOO_MANY' }));
  guard.take(proof(1, 'a', 'k2'));
  expect(() => guard.take(proof(1, 'a', 'k3'))).toThrow(expect.objectContaining({ code: 'PROOFS_TOO_MANY' }));
  clock.advance(200_000);
  guard.take(proof(1, 'c'));
  guard.take(proof(1, 'a', 'k3'));
});
