import { payloadTypeOf } from '@drover/lease-kit';
import type { BoundAttemptRecord } from '../attempt-store.ts';
import type { AttemptRecord, LeaseRecord } from '../job-store.ts';
import { storeLimits } from '../store-limits.ts';
import type { MemoryData, MemoryLease } from './memory-data.ts';

/** A bound attempt, as a server loads it. */
export function boundRecord(data: MemoryData, lease: MemoryLease): BoundAttemptRecord {
  const [assigned] = data.assigned(lease);
  const { state, cancelReason, cancelCode, jobId } = lease;
  if (!assigned || state === 'waiting' || state === 'ended') {
    throw new RangeError(`lease ${lease.draft.leaseId} is not bound`);
  }
  return {
    ...assigned,
    source: lease.draft.source,
    state,
    ...(cancelReason === undefined ? {} : { cancelReason }),
    ...(cancelCode === undefined ? {} : { cancelCode }),
    ...(jobId === undefined ? {} : { jobId }),
  };
}

/** A lease, as people see it. */
export function leaseRecord(
  lease: MemoryLease,
  progress: { readonly attempt: number; readonly percent: number; readonly message: string } | undefined,
  withOutput: boolean,
): LeaseRecord {
  const { draft, state, jobId, output } = lease;
  const attempts = lease.attempts.map(
    ({ attempt, agentId, assignedAtMs, endedAtMs, outcome, reason }): AttemptRecord => ({
      attempt,
      agentId,
      assignedAtMs,
      end: { atMs: endedAtMs, outcome, ...(reason ? { reason } : {}) },
    }),
  );
  if (lease.bound) {
    const { agentId, assignedAtMs } = lease.bound;
    attempts.push({ attempt: lease.attempt, agentId, assignedAtMs });
  }
  return {
    leaseId: draft.leaseId,
    ...(jobId === undefined ? {} : { jobId }),
    name: draft.name,
    source: draft.source,
    payloadType: payloadTypeOf(draft.payload),
    requirements: draft.requirements,
    priority: draft.priority,
    createdAtMs: lease.createdAtMs,
    state,
    cancelWished: lease.cancelReason !== undefined && lease.cancelCode === undefined,
    attempts: attempts.slice(-storeLimits.attemptsShownMax),
    excludedAgents: lease.excluded,
    ...(progress?.attempt === lease.attempt
      ? { progress: { percent: progress.percent, message: progress.message } }
      : {}),
    ...(lease.endedWaiting ? { endedWaiting: lease.endedWaiting } : {}),
    ...(withOutput && output ? { output } : {}),
    ...(state === 'ended' ? { succeeded: lease.succeeded } : {}),
  };
}
