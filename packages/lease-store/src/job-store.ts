import type { Any } from '@bufbuild/protobuf/wkt';
import type { AssignedAttempt, LeaseRequirements } from '@drover/lease-kit';
import type { AttemptOutcome } from './attempt-store.ts';
import type { EnqueueEntry } from './lease-queue.ts';
import type { StoreContext } from './store-context.ts';

/** A job to store, with its planned leases. */
export interface JobDraft {
  /** A UUID. */
  readonly jobId: string;
  /** With the submitter's principal, makes submitting twice harmless. */
  readonly requestId?: string;
  readonly name: string;
  readonly payload: Any;
  readonly priority: number;
  /** 1 to 1,000; their `jobId` is this job's. */
  readonly leases: readonly EnqueueEntry[];
}

/** What became of a submission. */
export interface SubmittedJob {
  /** The given id, or that of the job which the request id had made before. */
  readonly jobId: string;
  readonly repeated: boolean;
}

/** An attempt, live or ended. */
export interface AttemptRecord {
  readonly attempt: number;
  readonly agentId: string;
  readonly assignedAtMs: number;
  /** Absent while it is live. */
  readonly end?: {
    readonly atMs: number;
    readonly outcome: AttemptOutcome;
    readonly reason?: { readonly code: string; readonly message: string };
  };
}

/** A lease, live or ended. */
export interface LeaseRecord {
  readonly leaseId: string;
  readonly jobId?: string;
  readonly name: string;
  readonly source: string;
  readonly payloadType: string;
  readonly requirements: LeaseRequirements;
  readonly priority: number;
  readonly createdAtMs: number;
  readonly state: 'waiting' | 'offered' | 'accepted' | 'cancelling' | 'ended';
  readonly cancelWished: boolean;
  /** Oldest first, at most the last 32. */
  readonly attempts: readonly AttemptRecord[];
  /** Agents that have refused it, which it excludes. */
  readonly excludedAgents: readonly string[];
  readonly progress?: { readonly percent: number; readonly message: string };
  /** Why it ended while it waited, once it has and nobody cancelled it: LEASE_TIMED_OUT. */
  readonly endedWaiting?: { readonly code: string; readonly message: string };
  /** Of the last attempt, once ended. */
  readonly output?: Any;
  /** Once ended: completed, with work that succeeded. */
  readonly succeeded?: boolean;
}

/** A job and its leases. */
export interface JobRecord {
  readonly jobId: string;
  readonly name: string;
  readonly payloadType: string;
  readonly submitter: string;
  readonly priority: number;
  readonly createdAtMs: number;
  readonly cancelWished: boolean;
  readonly leases: readonly LeaseRecord[];
}

/** An attempt that a cancel wish concerns, so that its server can be told. */
export interface WishedAttempt {
  readonly leaseId: string;
  readonly attempt: number;
  readonly agentId: string;
  readonly epoch: number;
}

/** Jobs: leases that were submitted together. */
export interface JobStore {
  /** Stores jobs and their leases, all or none, at most 1,000 leases in all. */
  submit(
    jobs: readonly JobDraft[],
    context: StoreContext,
  ): Promise<{ readonly jobs: readonly SubmittedJob[]; readonly assigned: readonly AssignedAttempt[] }>;
  /** By id or by a prefix (≥ 4 characters) that one job has. JOB_NOT_FOUND, JOB_ID_AMBIGUOUS. */
  job(idOrPrefix: string, context: StoreContext): Promise<JobRecord>;
  /** Newest first, leases without outputs. `before` is the last job id of the page before. */
  jobs(
    page: { readonly before?: string; readonly limit: number },
    context: StoreContext,
  ): Promise<readonly JobRecord[]>;
  /** Live leases in the order of assignment, of one agent if given. */
  liveLeases(
    page: { readonly after?: string; readonly limit: number; readonly agentId?: string },
    context: StoreContext,
  ): Promise<readonly LeaseRecord[]>;
  /** A lease by id. LEASE_NOT_FOUND. */
  lease(leaseId: string, context: StoreContext): Promise<LeaseRecord>;
  /** Records that a job is no longer wanted: its waiting leases end as cancelled, the bound ones become cancelling. */
  wishCancel(jobId: string, reason: string, context: StoreContext): Promise<readonly WishedAttempt[]>;
  /** Newest progress of attempts, at most 4,096; a hint that may be lost with the database server. */
  recordProgress(
    entries: readonly {
      readonly leaseId: string;
      readonly attempt: number;
      readonly percent: number;
      readonly message: string;
    }[],
    context: StoreContext,
  ): Promise<void>;
}
