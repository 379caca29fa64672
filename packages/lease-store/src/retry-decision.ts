import { passingRefusalCodes, passingRefusalDelayMs, type RetryPolicy } from '@drover/lease-kit';
import type { AttemptOutcome } from './attempt-store.ts';
import { storeLimits } from './store-limits.ts';

/** What is known when an attempt ends. */
export interface EndedAttempt {
  readonly outcome: AttemptOutcome;
  /** Why it was refused; absent for other outcomes counts as no known reason. */
  readonly reasonCode?: string;
  /** For `completed`: whether the work succeeded; absent counts as success. */
  readonly succeeded?: boolean;
  /** The writer of the end forbids another attempt. */
  readonly noRetry: boolean;
  /** Somebody wished the lease cancelled while the attempt was bound. */
  readonly cancelWished: boolean;
  /** Attempts of the lease that had counted before this one: every one that ended, refused ones excepted. */
  readonly attemptsCounted: number;
}

/** Whether a lease goes on after an attempt. */
export type RetryDecision =
  | { readonly final: true }
  | {
      readonly final: false;
      /** How long the lease waits before it may be claimed; 0 means not at all. */
      readonly delayMs: number;
      /** The agent refused for a reason that does not pass: it is excluded. No refused attempt counts. */
      readonly excludes: boolean;
    };

/**
 * Decides what follows the end of an attempt. Both stores do exactly this, the Postgres one in SQL; the compliance cases
 * compare every store with this function.
 */
export function retryDecision(policy: RetryPolicy, ended: EndedAttempt): RetryDecision {
  if (ended.noRetry || ended.cancelWished) return { final: true };
  if (ended.outcome === 'refused') {
    const passes = passingRefusalCodes.includes(ended.reasonCode ?? '');
    return { final: false, delayMs: passes ? passingRefusalDelayMs : 0, excludes: !passes };
  }
  const counted = ended.attemptsCounted + 1;
  if (counted >= policy.attemptsMax || !asksForAnother(policy, ended)) return { final: true };
  const delayMs = Math.min(storeLimits.backoffMsMax, policy.backoffMs * 2 ** (counted - 1));
  return { final: false, delayMs, excludes: false };
}

function asksForAnother(policy: RetryPolicy, { outcome, succeeded }: EndedAttempt): boolean {
  if (outcome === 'completed') return policy.onFailedWork && succeeded === false;
  return outcome !== 'cancelled' && outcome !== 'refused' && policy.after.includes(outcome);
}
