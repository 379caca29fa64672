import type { AssignedAttempt, LeaseDraft, LeaseRequirements } from '@drover/lease-kit';
import type { WishedAttempt } from './job-store.ts';
import type { StoreContext } from './store-context.ts';

/** An agent's session, as every fenced write names it. */
export interface SessionRef {
  readonly agentId: string;
  readonly epoch: number;
}

/** A lease to store, bound to a session at once if the caller has reserved a place for it. */
export interface EnqueueEntry {
  readonly draft: LeaseDraft;
  /** The job that it belongs to; absent for a lease of its own. */
  readonly jobId?: string;
  /**
   * Stores the lease with its first attempt already bound, so that enqueueing and assigning are one commit. If the
   * session is no longer current the lease waits like any other.
   */
  readonly bindTo?: SessionRef;
  /**
   * Sealed secrets of the lease, at most 256 KiB: kept beside it for as long as it is live, gone with it, and given out by
   * `AttemptStore.secretsOf` alone. Absent: none.
   */
  readonly secrets?: Uint8Array;
}

/** A group of waiting leases that ask for the same on behalf of one submitter. */
export interface WaitingClass {
  /** Names the class in {@link ClaimRequest}; stable for equal requirements of one submitter. */
  readonly classId: number;
  readonly requirements: LeaseRequirements;
  /** Type name of the payloads. */
  readonly payloadType: string;
  /** On whose behalf; empty for nobody's. */
  readonly submitter: string;
  /** Highest and lowest priority among its waiting leases. */
  readonly priorityMax: number;
  readonly priorityMin: number;
  /** How long ago its oldest waiting lease was stored, in ms. */
  readonly ageMsMax: number;
}

/**
 * The part of one class in a claim. Within a priority the lease with the lowest tag goes first: the nth lease of a submitter
 * has the tag `start` plus the steps of its first n leases (weighted fair queueing by virtual finish times).
 */
export interface ClaimShare {
  /** The same number for classes of the same submitter. */
  readonly submitter: number;
  readonly start: number;
  /** Above 0: what a lease of this class costs, divided by the weight of its submitter. */
  readonly step: number;
}

/** How much waits of a class. */
export interface WaitingWork {
  readonly classId: number;
  readonly source: string;
  readonly requirements: LeaseRequirements;
  /** Type name of the payloads. */
  readonly payloadType: string;
  readonly leases: number;
  /** When the oldest of them was stored. */
  readonly oldestAtMs: number;
}

/** Asks for waiting leases of some classes, one for each place. */
export interface ClaimRequest {
  readonly source: string;
  /** At most 1,024. */
  readonly classIds: readonly number[];
  /** One entry for every lease that may be claimed, at most 1,024; an agent stands in it once for each of its places. */
  readonly places: readonly SessionRef[];
  /** Turns between submitters, one entry for each of `classIds`. Absent: within a priority the oldest lease goes first. */
  readonly shares?: readonly ClaimShare[];
  /**
   * Claims only leases that were stored at least so many ms ago, the oldest first, whatever their priority; then `shares` counts
   * for nothing. Absent: whatever their age, by priority.
   */
  readonly agedMs?: number;
}

/** Leases whose whole time is over, see `LeaseTimeouts`. */
export interface OverdueLeases {
  /** Those that waited: ended as timed out, with code LEASE_TIMED_OUT. */
  readonly ended: readonly { readonly leaseId: string; readonly source: string; readonly jobId?: string }[];
  /** Attempts that are to be stopped, so that their servers can be told. */
  readonly wished: readonly WishedAttempt[];
}

/** Leases that wait, and the one statement that takes them. */
export interface LeaseQueue {
  /**
   * Stores leases, all or none, at most 1,000. A lease id that exists already, live or ended, is an error with advice
   * `conflict`: LEASE_EXISTS. Ids of UUID version 7 make the search for ended ones and the indexes cheaper.
   */
  enqueue(entries: readonly EnqueueEntry[], context: StoreContext): Promise<readonly AssignedAttempt[]>;
  /**
   * The classes that have a lease due now, for one source, highest priority first; at most 4,096, of which a quarter is for
   * those that have waited longest.
   */
  waitingClasses(source: string, context: StoreContext): Promise<readonly WaitingClass[]>;
  /**
   * Claims the leases that are first in order (priority, then age) and not held by another claim, binds each to a place
   * whose session is current and which the lease does not exclude, and commits. Fewer than asked for is normal. A lease
   * that has waited for its next attempt can be claimed once it is due and {@link waitingClasses} has been asked.
   */
  claim(request: ClaimRequest, context: StoreContext): Promise<readonly AssignedAttempt[]>;
  /**
   * What waits, of every source, by class: at most 4,096 classes, and of each at most 100,000 leases are counted. Leases that
   * wait for a further attempt and are not due yet are among them. For displays and hints; nothing is claimed by it.
   */
  waitingWork(context: StoreContext): Promise<readonly WaitingWork[]>;
  /** When the next waiting lease of a source that is not due yet falls due, in ms from now; undefined if none does. */
  nextDueMs(source: string, context: StoreContext): Promise<number | undefined>;
  /**
   * Ends leases whose whole time is over: those that wait at once, bound ones become cancelling, with code LEASE_TIMED_OUT,
   * and end when their agent has stopped them. At most 1,000 a call; the caller repeats while it gets that many.
   */
  expire(context: StoreContext): Promise<OverdueLeases>;
}
