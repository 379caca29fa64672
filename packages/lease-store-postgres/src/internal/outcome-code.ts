import type { RetryPolicy } from '@drover/lease-kit';
import type { AttemptOutcome } from '@drover/lease-store';

/** How outcomes are stored. Numbers are never given anew. */
const outcomes: readonly AttemptOutcome[] = ['completed', 'failed', 'timed-out', 'cancelled', 'lost', 'refused'];

/** The stored number of an outcome, from 1. */
export function outcomeCode(outcome: AttemptOutcome): number {
  return outcomes.indexOf(outcome) + 1;
}

/** The outcome of a stored number. */
export function outcomeFromCode(code: number): AttemptOutcome {
  const outcome = outcomes[code - 1];
  if (!outcome) throw new RangeError(`stored outcome ${code} is unknown`);
  return outcome;
}

/** Outcomes that ask for another attempt, as bits: outcome n is bit n. */
export function retryBits(policy: RetryPolicy): number {
  const bits = policy.after.reduce((sum, outcome) => sum | (1 << outcomeCode(outcome)), 0);
  return policy.onFailedWork ? bits | (1 << outcomeCode('completed')) : bits;
}

/** States of a live lease, as they are stored. */
export const leaseStates = ['waiting', 'offered', 'accepted', 'cancelling'] as const;
