import type { AttemptWrite, LostAttempt } from '@drover/lease-store';
import type { Session } from './internal/database.ts';
import type { LeaseClasses } from './lease-classes.ts';
import type { RecordAttempts } from './record-attempts.ts';

/** An attempt whose session has gone. */
export interface StrayAttempt {
  readonly lease_id: string;
  readonly attempt: number;
  readonly agent_id: string;
  readonly epoch: number;
}

/** Ends attempts as lost, each at most once whoever else does it too, and tells which of them this call ended. */
export async function loseAttempts(
  session: Session,
  deps: { readonly attempts: RecordAttempts; readonly classes: LeaseClasses },
  strays: readonly StrayAttempt[],
  reason: { readonly code: string; readonly message: string },
): Promise<LostAttempt[]> {
  if (strays.length === 0) return [];
  const writes = strays.map((stray): AttemptWrite => ({
    kind: 'end',
    leaseId: stray.lease_id,
    attempt: stray.attempt,
    agentId: stray.agent_id,
    epoch: stray.epoch,
    outcome: 'lost',
    reason,
    noRetry: false,
  }));
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
      final: result.final === true,
      ...(result.jobId === undefined ? {} : { jobId: result.jobId }),
    };
  });
}
