import type { Any } from '@bufbuild/protobuf/wkt';
import type { AssignedAttempt, AttemptEnd } from '@drover/lease-kit';
import type { SessionRef } from './lease-queue.ts';
import type { StoreContext } from './store-context.ts';

/** How an attempt ended, as it is stored. */
export type AttemptOutcome = AttemptEnd['outcome'];

/** A fenced write about one attempt. It changes nothing unless the attempt is bound to exactly this session. */
export type AttemptWrite = SessionRef & {
  readonly leaseId: string;
  readonly attempt: number;
} & (
    | {
        readonly kind: 'acceptance';
        /**
         * The agent goes down because of it: kept until the attempt ends, or a later process of the agent proves the attempt.
         * See `AbsenceGrant`.
         */
        readonly goingDown?: boolean;
      }
    | {
        readonly kind: 'end';
        readonly outcome: AttemptOutcome;
        /** Why, for outcomes other than `completed`. */
        readonly reason?: { readonly code: string; readonly message: string };
        readonly output?: Any;
        /** For `completed`: whether the work succeeded, as its lease type judges; absent counts as success. */
        readonly succeeded?: boolean;
        /** Never make another attempt, whatever the retry policy says. */
        readonly noRetry: boolean;
      }
  );

/**
 * What became of a write. `persisted` also answers a repetition of a write that had been persisted before. A refused
 * attempt gives the lease back to the queue and, unless the reason passes by itself (`passingRefusalCodes` of lease-kit),
 * excludes the agent for that lease; it costs the lease none of its
 * attempts allowed by the retry policy, though the next attempt has its own number.
 */
export type AttemptWriteResult =
  | {
      readonly result: 'persisted';
      /** For an end: no further attempt follows. */ readonly final?: boolean;
      readonly jobId?: string;
    }
  | { readonly result: 'fenced' };

/** An attempt bound to a session, with what the server must know to go on with it. */
export interface BoundAttemptRecord extends AssignedAttempt {
  readonly source: string;
  readonly state: 'offered' | 'accepted' | 'cancelling';
  readonly cancelReason?: string;
  /** Why it is cancelling, where no person wished it: LEASE_TIMED_OUT. */
  readonly cancelCode?: string;
  readonly jobId?: string;
}

/** An attempt that ended because its session did, or because its agent stayed away for longer than its lease grants. */
export interface LostAttempt extends SessionRef {
  readonly leaseId: string;
  readonly attempt: number;
  readonly source: string;
  /** `lost`, or what the lease's `AbsenceGrant` says. */
  readonly outcome: 'lost' | 'failed' | 'completed';
  readonly final: boolean;
  readonly jobId?: string;
}

/** The attempts of live leases. */
export interface AttemptStore {
  /** Persists writes of any number of sessions in one transaction, at most 4,096; answers in their order. */
  record(writes: readonly AttemptWrite[], context: StoreContext): Promise<readonly AttemptWriteResult[]>;
  /** All attempts that are bound to a session. */
  boundTo(session: SessionRef, context: StoreContext): Promise<readonly BoundAttemptRecord[]>;
  /**
   * The sealed secrets of an attempt's lease; undefined if it has none. SESSION_FENCED unless the attempt is bound to exactly
   * this session, so that nobody gets them before, afterwards or instead.
   */
  secretsOf(
    attempt: SessionRef & { readonly leaseId: string; readonly attempt: number },
    context: StoreContext,
  ): Promise<Uint8Array | undefined>;
}
