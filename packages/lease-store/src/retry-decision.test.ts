import { expect, test } from 'vitest';
import { retryDecision } from './retry-decision.ts';

const policy = { attemptsMax: 4, after: ['failed', 'lost'] as const, onFailedWork: false, backoffMs: 1_000_000 };
const ended = { outcome: 'failed', noRetry: false, cancelWished: false, attemptsCounted: 0 } as const;

test('doubles the wait after each attempt, up to an hour, and stops at the last attempt', () => {
  const delays = [0, 1, 2, 3, 19].map((attemptsCounted) => {
    const decision = retryDecision(policy, { ...ended, attemptsCounted });
    return decision.final ? 'final' : decision.delayMs;
  });
  expect(delays).toEqual([1_000_000, 2_000_000, 3_600_000, 'final', 'final']);
});

test('a refusal is no attempt: it never waits and never ends a lease by itself', () => {
  const refused = { ...ended, outcome: 'refused', attemptsCounted: 3 } as const;
  expect(retryDecision(policy, refused)).toEqual({ final: false, delayMs: 0, excludes: true });
  const passing = { ...refused, reasonCode: 'AGENT_BUSY' };
  expect(retryDecision(policy, passing)).toEqual({ final: false, delayMs: 1_000, excludes: false });
  expect(retryDecision(policy, { ...refused, noRetry: true })).toEqual({ final: true });
});

test('a cancelled lease is never tried again, whatever its policy says', () => {
  for (const outcome of ['completed', 'failed', 'timed-out', 'cancelled', 'lost', 'refused'] as const) {
    expect(retryDecision({ ...policy, onFailedWork: true }, { ...ended, outcome, cancelWished: true })).toEqual({
      final: true,
    });
  }
  const cancelled = { ...policy, after: ['failed', 'lost', 'timed-out'] as const };
  expect(retryDecision(cancelled, { ...ended, outcome: 'cancelled' })).toEqual({ final: true });
});

test('work that ran to its end and failed is tried again only if the policy asks for it', () => {
  const failedWork = { ...ended, outcome: 'completed', succeeded: false } as const;
  expect(retryDecision(policy, failedWork).final).toBe(true);
  expect(retryDecision({ ...policy, onFailedWork: true }, failedWork).final).toBe(false);
  expect(retryDecision({ ...policy, onFailedWork: true }, { ...ended, outcome: 'completed' }).final).toBe(true);
});
