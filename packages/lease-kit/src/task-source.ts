import type { Any } from '@bufbuild/protobuf/wkt';
import type { RetryPolicy } from './lease-type.ts';

/** The token under which a composition root registers its sources, each a singleton. Sources are asked in that order. */
export const TaskSource: unique symbol = Symbol.for('@drover/lease-kit/TaskSource');

/** What an agent must have and be to take a lease. Absent fields ask for nothing. */
export interface LeaseRequirements {
  readonly pool?: string;
  /** In the language of `@drover/lease-matching`. */
  readonly condition?: string;
  /** Counted resources by name, whole numbers. */
  readonly resources?: Readonly<Record<string, number>>;
  /** Nothing else may run beside it. */
  readonly exclusive?: boolean;
}

/** How long an agent may stay away while it holds an accepted attempt of a lease, and what it means when it does. */
export interface AbsenceGrant {
  /** Counted from when the agent was last heard; at least 1 and at most 30 days. */
  readonly msMax: number;
  /**
   * How the attempt ends when that time is over and the agent has not come back with it:
   * - `lost`: nobody can say.
   * - `failed`: with code AGENT_NEVER_RETURNED, e.g. a restart, an upgrade.
   * - `completed`: the absence is the work, e.g. a shutdown. Only if the handler's `goingDown` was persisted; else `lost`.
   */
  readonly then: 'lost' | 'failed' | 'completed';
}

/** Limits of a lease beside its run limit. An absent one is no limit. In ms, at least 1 and at most ten years. */
export interface LeaseTimeouts {
  /**
   * From the offer until an agent has taken it, by the server's clock. Beyond, the attempt ends as `lost` with code
   * START_TIMED_OUT, and is tried again by the retry policy.
   */
  readonly startMsMax?: number;
  /**
   * How long a handler may go without reporting progress and without a byte in any log, by the agent's clock. Beyond, it is
   * stopped and the attempt ends as `timed-out` with code NO_PROGRESS.
   */
  readonly progressMsMax?: number;
  /**
   * From the lease's creation to its end, over all attempts and waiting, by the database's clock. Beyond, a waiting lease
   * ends as `timed-out` with code LEASE_TIMED_OUT, and a bound one is stopped within its grace period. Never retried.
   */
  readonly leaseMsMax?: number;
}

/** A lease that does not exist yet. */
export interface LeaseDraft {
  /** Chosen by the caller: a UUID. */
  readonly leaseId: string;
  /** The task source that owns it. */
  readonly source: string;
  /** For people, at most 256 characters. */
  readonly name: string;
  readonly payload: Any;
  readonly requirements: LeaseRequirements;
  /** −1000 to 1000; higher goes first. */
  readonly priority: number;
  /**
   * On whose behalf, at most 256 characters: leases of equal priority are handed out in turns between submitters. Absent: on
   * nobody's, which counts as one more submitter.
   */
  readonly submitter?: string;
  readonly runLimitMs: number;
  readonly cancelGraceMs: number;
  readonly retry: RetryPolicy;
  /** Absent: an agent that stays away loses it like any other. */
  readonly absence?: AbsenceGrant;
  /** Absent: none beside the run limit. */
  readonly timeouts?: LeaseTimeouts;
}

/** An agent that could take work, as a source sees it. */
export interface AgentView {
  readonly agentId: string;
  readonly epoch: number;
  readonly properties: ReadonlyMap<string, readonly string[]>;
  readonly pools: readonly string[];
  readonly resourcesTotal: Readonly<Record<string, number>>;
  readonly resourcesFree: Readonly<Record<string, number>>;
  /** How many more attempts it may hold. */
  readonly leasesFree: number;
  /** True if it holds no attempt and nothing else uses its resources. */
  readonly idle: boolean;
  /** Type names of the payloads that it has handlers for. */
  readonly payloadTypes: readonly string[];
}

/** An attempt that a source has bound to an agent: committed before it is returned. */
export interface AssignedAttempt {
  readonly leaseId: string;
  readonly attempt: number;
  readonly agentId: string;
  readonly epoch: number;
  readonly payload: Any;
  readonly requirements: LeaseRequirements;
  /** On whose behalf; absent: on nobody's. */
  readonly submitter?: string;
  readonly runLimitMs: number;
  readonly cancelGraceMs: number;
  readonly absence?: AbsenceGrant;
  readonly timeouts?: LeaseTimeouts;
}

/** What a source answers for one agent. No answer means that it has nothing. */
export type TaskAnswer =
  | { readonly kind: 'assigned'; readonly attempts: readonly AssignedAttempt[] }
  /**
   * Give this agent no other work until it is idle. Sources that stand before this one are asked about it all the same, and a
   * drain of theirs takes the place of this one.
   */
  | { readonly kind: 'drain'; readonly reason: string };

/** How an attempt of one of the source's leases ended. Told after it is persisted, at least once. */
export interface AttemptEnd {
  readonly leaseId: string;
  readonly attempt: number;
  readonly agentId: string;
  readonly outcome: 'completed' | 'failed' | 'timed-out' | 'cancelled' | 'lost' | 'refused';
  /** True if no further attempt follows. */
  readonly final: boolean;
}

/** What a source may use to answer. */
export interface AskContext {
  readonly signal: AbortSignal;
}

/**
 * Hands out leases on the server. Registered under the token of the same name. Asked in the order of registration, for
 * several agents at once; an agent that got an answer is not offered to the sources behind it.
 */
export interface TaskSource {
  /** Unique in a server, e.g. `job`. */
  readonly name: string;
  /** May assign to an agent that is disabled. Default false. */
  readonly assignsWhenDisabled?: boolean;
  /** May assign to an agent in scheduled downtime. Default false. */
  readonly assignsInDowntime?: boolean;
  /**
   * Assigns leases to some of `agents`. The claim, the source's own bookkeeping and the new attempts commit in one
   * transaction before it resolves. Answers by agent id.
   */
  ask(agents: readonly AgentView[], context: AskContext): Promise<ReadonlyMap<string, TaskAnswer>>;
  /** Calls `wake` when the source may have work that it did not have before. Returns how to stop. */
  onWork?(wake: () => void): () => void;
  /** Told how an attempt ended, after that was persisted. Repeats are possible; it must be quick. */
  ended?(end: AttemptEnd): void;
}
