import type { BadEnd } from './lease-facts.ts';

/** The moment of the tests. */
export const nowMs = 1_000_000_000;

/** The end of a lease whose work failed, a moment ago. */
export function badEnd(agentId: string, leaseId: string, changes: Partial<BadEnd> = {}): BadEnd {
  const end = { agentId, leaseId, attempt: 1, kind: 'job', name: leaseId, endedAtMs: nowMs - 1_000 };
  return { ...end, outcome: 'completed', code: '', ...changes };
}
