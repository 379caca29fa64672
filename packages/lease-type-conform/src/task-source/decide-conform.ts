import type { AgentTaskRecord } from '@drover/lease-store';

/** What is known of an agent that is online. */
export interface ConformFacts {
  /** Of the workspaces that it is to keep now. */
  readonly setDigest: string;
  readonly workspaces: number;
  /** Folders of workspaces that it is no longer to keep are removed. */
  readonly removesOthers: boolean;
  /** What was last wanted of it; absent if nothing ever was. */
  readonly record?: Pick<AgentTaskRecord, 'state' | 'last' | 'requestedAtMs'>;
  /** The wish in that record. */
  readonly wish?: { readonly setDigest: string; readonly clean: boolean };
  readonly nowMs: number;
  /** How long after a success it conforms again. Absent: never. */
  readonly intervalMs?: number;
}

/** Why an agent is to conform by itself. */
export interface ConformDecision {
  readonly cause: 'interval' | 'set-changed';
  /** Somebody had asked for that, and what they asked for is replaced. */
  readonly clean: boolean;
}

/**
 * Decides whether an agent is to conform although nobody asks. A wish that is alive for the same set is left alone, with its
 * back-off; one that was withdrawn or given up is not made again before the set changes or the interval passes.
 */
export function decideConform(facts: ConformFacts): ConformDecision | undefined {
  const { record, wish, setDigest } = facts;
  const changed = (clean: boolean): ConformDecision | undefined =>
    facts.workspaces > 0 || (facts.removesOthers && record !== undefined) ? { cause: 'set-changed', clean } : undefined;
  if (record === undefined) return changed(false);
  const isSame = wish?.setDigest === setDigest;
  switch (record.state) {
    case 'withdrawing':
      return undefined;
    case 'waiting':
    case 'draining':
      return isSame ? undefined : changed(wish?.clean ?? false);
    case 'carried':
      // This one comes after it.
      return isSame ? undefined : changed(false);
    case 'expired':
      // Its agent was away for too long; it is here now.
      return changed(wish?.clean ?? false);
    case 'ended':
      if (!isSame || wasUnknown(record)) return changed(false);
      return isDue(facts) ? { cause: 'interval', clean: false } : undefined;
  }
}

/** It had no handler for it then; whoever is asked about now has. */
function wasUnknown({ last, requestedAtMs }: NonNullable<ConformFacts['record']>): boolean {
  return last?.reason?.code === 'LEASE_TYPE_UNKNOWN' && last.atMs >= requestedAtMs;
}

function isDue({ record, nowMs, intervalMs, workspaces }: ConformFacts): boolean {
  if (record === undefined || intervalMs === undefined || workspaces === 0) return false;
  // One that was withdrawn ended when it was wanted, as far as anybody knows.
  const sinceMs = Math.max(record.last?.atMs ?? 0, record.requestedAtMs);
  return nowMs - sinceMs >= intervalMs;
}
