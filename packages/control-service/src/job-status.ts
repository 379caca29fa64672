import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs, type Any } from '@bufbuild/protobuf/wkt';
import {
  AttemptStatusSchema,
  JobState,
  JobStatusSchema,
  LeaseState,
  LeaseStatusSchema,
  LogStatusSchema,
  type JobStatus,
  type LeaseStatus,
  type LogStatus,
} from '@drover/control-api';
import { Outcome } from '@drover/lease-protocol';
import { requirementsText } from '@drover/lease-matching';
import type { AttemptOutcome, AttemptRecord, JobRecord, LeaseRecord } from '@drover/lease-store';

const leaseStates: Readonly<Record<LeaseRecord['state'], LeaseState>> = {
  waiting: LeaseState.WAITING,
  offered: LeaseState.OFFERED,
  accepted: LeaseState.RUNNING,
  cancelling: LeaseState.CANCELLING,
  ended: LeaseState.ENDED,
};

/** A refused attempt has no outcome on the wire: its handler never started. Its reason says so. */
const outcomes: Readonly<Record<AttemptOutcome, Outcome>> = {
  completed: Outcome.COMPLETED,
  failed: Outcome.FAILED,
  'timed-out': Outcome.TIMED_OUT,
  cancelled: Outcome.CANCELLED,
  lost: Outcome.LOST,
  refused: Outcome.UNSPECIFIED,
};

/** An outcome as people and programs read it. */
export function outcomeOnWire(outcome: AttemptOutcome): Outcome {
  return outcomes[outcome];
}

/** What a lease's record does not hold. */
export interface LeaseExtras {
  readonly logs?: readonly { readonly log: string; readonly sizeBytes: number; readonly complete: boolean }[];
  /** In place of the record's output, which may be a reference. */
  readonly output?: Any;
}

/** The state of a job by its leases. */
export function jobStateOf(leases: readonly LeaseRecord[]): JobState {
  if (leases.every(({ state }) => state === 'ended')) {
    if (leases.every(({ succeeded }) => succeeded === true)) return JobState.SUCCEEDED;
    return leases.every((lease) => lease.succeeded === true || wasCancelled(lease))
      ? JobState.CANCELLED
      : JobState.FAILED;
  }
  const taken = leases.some(({ state, attempts }) =>
    state === 'waiting' || state === 'offered' ? attempts.some(wasTaken) : true,
  );
  return taken ? JobState.RUNNING : JobState.WAITING;
}

/** True for a state that nothing follows. */
export function isEndState(state: JobState): boolean {
  return state === JobState.SUCCEEDED || state === JobState.FAILED || state === JobState.CANCELLED;
}

function wasCancelled(lease: LeaseRecord): boolean {
  const last = lease.attempts.at(-1)?.end;
  if (last === undefined) return lease.cancelWished;
  if (last.outcome === 'cancelled') return true;
  // The wish came between two attempts, or the agent was gone when it came.
  return lease.cancelWished && (last.outcome === 'lost' || last.outcome === 'refused');
}

function wasTaken({ end }: AttemptRecord): boolean {
  return end !== undefined && end.outcome !== 'refused';
}

/** A job for people and programs to read. */
export function jobStatusOf(job: JobRecord, extras: ReadonlyMap<string, LeaseExtras>): JobStatus {
  const state = jobStateOf(job.leases);
  const status: MessageInitShape<typeof JobStatusSchema> = {
    jobId: job.jobId,
    name: job.name,
    payloadType: job.payloadType,
    state,
    submitter: job.submitter,
    priority: job.priority,
    createdAt: timestampFromMs(job.createdAtMs),
    cancelWished: job.cancelWished,
    leases: job.leases.map((lease) => leaseStatusOf(lease, extras.get(lease.leaseId))),
  };
  if (isEndState(state)) {
    const ends = job.leases.flatMap(({ attempts }) => attempts.map(({ end }) => end?.atMs ?? 0));
    const lastMs = Math.max(0, ...ends);
    if (lastMs > 0) status.endedAt = timestampFromMs(lastMs);
  }
  return create(JobStatusSchema, status);
}

/** A lease for people and programs to read. */
export function leaseStatusOf(lease: LeaseRecord, extras: LeaseExtras = {}): LeaseStatus {
  const status: MessageInitShape<typeof LeaseStatusSchema> = {
    leaseId: lease.leaseId,
    name: lease.name,
    state: leaseStates[lease.state],
    percent: lease.progress?.percent ?? (lease.succeeded === true ? 100 : 0),
    progressMessage: lease.progress?.message ?? '',
    attempts: lease.attempts.map(attemptStatusOf),
    logs: (extras.logs ?? []).map(logStatusOf),
    requirements: requirementsText(lease.requirements),
    jobId: lease.jobId ?? '',
    payloadType: lease.payloadType,
    cancelWished: lease.cancelWished,
    priority: lease.priority,
    createdAt: timestampFromMs(lease.createdAtMs),
    succeeded: lease.succeeded ?? false,
  };
  if (extras.output !== undefined) status.output = extras.output;
  if (lease.endedWaiting !== undefined) status.endedWaiting = lease.endedWaiting;
  return create(LeaseStatusSchema, status);
}

function attemptStatusOf({ attempt, agentId, assignedAtMs, end }: AttemptRecord) {
  const status: MessageInitShape<typeof AttemptStatusSchema> = {
    attempt,
    agentId,
    assignedAt: timestampFromMs(assignedAtMs),
  };
  if (end !== undefined) {
    status.endedAt = timestampFromMs(end.atMs);
    status.outcome = outcomes[end.outcome];
    if (end.reason !== undefined) status.reason = end.reason;
  }
  return create(AttemptStatusSchema, status);
}

function logStatusOf(log: NonNullable<LeaseExtras['logs']>[number]): LogStatus {
  return create(LogStatusSchema, { name: log.log, sizeBytes: BigInt(log.sizeBytes), complete: log.complete });
}
