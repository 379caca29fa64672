import type { AttemptWrite, LostAttempt } from '@drover/lease-store';
import type { Session } from './internal/database.ts';
import type { LeaseClasses } from './lease-classes.ts';
import type { RecordAttempts } from './record-attempts.ts';

/** An attempt whose session has gone, and whose agent may stay away no longer. */
export interface StrayAttempt {
  readonly lease_id: string;
  readonly attempt: number;
  readonly agent_id: string;
  readonly epoch: number;
  /** What the lease's `AbsenceGrant` says; absent or null means lost. */
  readonly fate?: 'failed' | 'completed' | 'lost' | null;
}

/** True, in SQL, for an attempt that was accepted and whose lease grants its agent an absence. */
const isGrantedSql = (l: string) => `(${l}.terms is not null and ${l}.terms ? 'absence'
  and (${l}.state = 2 or ${l}.going_down_at is not null))`;

/** SQL: false while the agent `a`, whose newest epoch is that of the lease `l`, may still stay away with it. */
export function isOverSql(l: string, a: string): string {
  return `coalesce(not ${isGrantedSql(l)} or ${a}.epoch <> ${l}.epoch or ${a}.away_since is null
    or ${a}.away_since + (${l}.terms -> 'absence' ->> 'msMax')::bigint * interval '1 millisecond' <= now(), true)`;
}

/** SQL: how the attempt of a lease `l` ends when its agent `a` has stayed away for too long; null for lost. */
export function fateSql(l: string, a: string): string {
  return `case when ${isGrantedSql(l)} and ${a}.epoch = ${l}.epoch and not (${l}.terms -> 'absence' ->> 'then' = 'completed'
    and ${l}.going_down_at is null) then ${l}.terms -> 'absence' ->> 'then' end`;
}

const neverReturned = {
  code: 'AGENT_NEVER_RETURNED',
  message: 'The agent stayed away for longer than this lease allows.',
};

/**
 * Ends attempts, as lost where nothing else is granted, each at most once whoever else does it too, and tells which of them
 * this call ended.
 */
export async function loseAttempts(
  session: Session,
  deps: { readonly attempts: RecordAttempts; readonly classes: LeaseClasses },
  strays: readonly StrayAttempt[],
  reason: { readonly code: string; readonly message: string },
): Promise<LostAttempt[]> {
  if (strays.length === 0) return [];
  const writes = strays.map((stray): AttemptWrite => {
    const outcome = stray.fate ?? 'lost';
    return {
      kind: 'end',
      leaseId: stray.lease_id,
      attempt: stray.attempt,
      agentId: stray.agent_id,
      epoch: stray.epoch,
      outcome,
      ...(outcome === 'completed' ? {} : { reason: outcome === 'failed' ? neverReturned : reason }),
      noRetry: false,
    };
  });
  const results = await deps.attempts.run(session, writes);
  await deps.classes.load(
    session,
    results.flatMap((result) => result.classId ?? []),
  );
  return results.flatMap((result, index) => {
    const stray = strays[index];
    // Without a class the end is a repetition: somebody else has ended it and tells of it.
    if (result.result === 'fenced' || result.classId === undefined || !stray) return [];
    return {
      agentId: stray.agent_id,
      epoch: stray.epoch,
      leaseId: stray.lease_id,
      attempt: stray.attempt,
      source: deps.classes.of(result.classId).source,
      outcome: stray.fate ?? 'lost',
      final: result.final === true,
      ...(result.jobId === undefined ? {} : { jobId: result.jobId }),
    };
  });
}
