import type { Any } from '@bufbuild/protobuf/wkt';
import type { AssignedAttempt, LeaseDraft } from '@drover/lease-kit';
import type { AttemptOutcome } from './attempt-store.ts';
import type { WishedAttempt } from './job-store.ts';
import type { SessionRef } from './lease-queue.ts';
import type { StoreContext } from './store-context.ts';

/** Names an agent task: a source wants at most one thing of an agent at a time. */
export interface AgentTaskKey {
  /** Name of the task source that turns it into a lease, e.g. `restart`. */
  readonly source: string;
  readonly agentId: string;
}

/** Something to do on one agent and no other. */
export interface AgentTaskWish extends AgentTaskKey {
  /** What the source makes a lease of; at most 16 KiB. */
  readonly payload: Any;
  /** Bound at once, whatever the agent does. Default: the agent is drained first. */
  readonly forced?: boolean;
  /** Tasks of one group share the cap `groupMax`, e.g. those of one request. Absent: none but the source's own cap. */
  readonly group?: { readonly name: string; readonly max: number };
  /** Wait before it may be bound. Default 0, at most 31 days. */
  readonly delayMs?: number;
  /** How long it is wanted. At most 366 days, which is the default. */
  readonly expiresAfterMs?: number;
  /** A repeated wish ends the back-off of the one before it: somebody asks again. Default false. */
  readonly endsBackOff?: boolean;
}

/** What became of a wish. */
export interface WantedAgentTask extends AgentTaskKey {
  /**
   * - `wanted`: nothing was wanted of the agent before.
   * - `replaced`: something else was wanted; it is forgotten, or if a lease carries it already, this one comes after.
   * - `unchanged`: the same was wanted, or is being done.
   * - `unknown-agent`: the store has never heard of the agent; nothing was written.
   */
  readonly result: 'wanted' | 'replaced' | 'unchanged' | 'unknown-agent';
}

/** What became of a withdrawal. */
export interface WithdrawnAgentTask extends AgentTaskKey {
  /**
   * - `withdrawn`: nothing is wanted any more.
   * - `cancelling`: a lease carries it, which is no longer wanted; tell its server.
   * - `not-wanted`: nothing was wanted.
   */
  readonly result: 'withdrawn' | 'cancelling' | 'not-wanted';
  /** For `cancelling`. */
  readonly attempt?: WishedAttempt;
}

/** How the lease that carried a task last ended, or why it never got one. */
export interface AgentTaskEnd {
  /** Absent if it ended without a lease. */
  readonly leaseId?: string;
  readonly outcome: AttemptOutcome;
  /** Completed, with work that succeeded. */
  readonly succeeded: boolean;
  readonly reason?: { readonly code: string; readonly message: string };
  readonly atMs: number;
  /** Of the lease; absent where it was not asked for, and where nothing is kept of the lease any more. */
  readonly output?: Any;
}

/** An agent task as it is stored. */
export interface AgentTaskRecord extends AgentTaskKey {
  /** Grows with every change of what is wanted. */
  readonly revision: number;
  /**
   * - `waiting`: for its agent, its time or the cap.
   * - `draining`: the agent gets no other work until it is idle.
   * - `carried`: a lease does it.
   * - `withdrawing`: a lease does it that is no longer wanted.
   * - `expired`: it was not bound in time.
   * - `ended`: nothing is wanted.
   */
  readonly state: 'waiting' | 'draining' | 'carried' | 'withdrawing' | 'expired' | 'ended';
  readonly payload: Any;
  readonly forced: boolean;
  readonly group?: { readonly name: string; readonly max: number };
  readonly requestedBy: string;
  readonly requestedAtMs: number;
  /** Absent if it may be bound now. */
  readonly notBeforeMs?: number;
  readonly expiresAtMs: number;
  /** Leases in a row that did not do it. */
  readonly failures: number;
  /** The lease that carries it now, or whose end is not settled. */
  readonly leaseId?: string;
  readonly last?: AgentTaskEnd;
}

/** A task that waits for its agent. */
export interface OpenAgentTask extends AgentTaskKey {
  readonly revision: number;
  readonly payload: Any;
  readonly forced: boolean;
  readonly requestedBy: string;
  readonly failures: number;
  /** From now on; 0 if it may be bound. */
  readonly dueMs: number;
  /** The agent is being drained for it. */
  readonly draining: boolean;
}

/** Asks to do a task now, or to keep a place for it while its agent is drained. */
export interface AgentTaskBinding {
  readonly session: SessionRef;
  /** Of the task that was looked at; another one changes nothing. */
  readonly revision: number;
  /** The lease to bind; its source is the task's. It should not be retried: the task is what goes on. Absent: drain. */
  readonly draft?: LeaseDraft;
}

/** Asks to do tasks of one source. */
export interface BindAgentTasks {
  readonly source: string;
  /** At most 256. Earlier ones take what the caps leave first. */
  readonly entries: readonly AgentTaskBinding[];
  /** Most tasks of the source that are drained for or carried at once. Absent: no cap. */
  readonly atOnceMax?: number;
  /** How long a place is kept for an agent that is drained, unless it is asked for again. 1 s to 1 h. */
  readonly drainTtlMs: number;
}

/** What became of one entry. */
export type BoundAgentTask = AgentTaskKey &
  (
    | { readonly result: 'bound'; readonly attempt: AssignedAttempt }
    /** A place is kept: drain the agent. */
    | { readonly result: 'draining' }
    /** A cap is reached, the source's or the group's. */
    | { readonly result: 'full' }
    /** Another revision is wanted, or nothing, or it is not due, or a lease carries it. */
    | { readonly result: 'changed' }
    /** The session is not current. */
    | { readonly result: 'fenced' }
  );

/** What follows a lease that did not do its task. */
export interface AgentTaskRetry {
  /** Waits after the first failure, the second and so on; the last one repeats. At most 20, each at most 31 days. */
  readonly backoffMs: readonly number[];
  /** With so many failures in a row it is no longer wanted; 1 to 1,000. */
  readonly failuresMax: number;
}

/** A task whose lease has ended. */
export interface SettledAgentTask extends AgentTaskKey {
  readonly leaseId: string;
  readonly end: AgentTaskEnd;
  readonly failures: number;
  /** It is done again; `dueMs` says when. */
  readonly wantedAgain: boolean;
  readonly dueMs: number;
}

/**
 * What is wanted of single agents: at most one task for a source and an agent, and a record of how the last one ended. Whoever
 * calls {@link want} or {@link withdraw} announces `work` of the source afterwards, and `cancel` for an attempt that is no
 * longer wanted.
 *
 * ```
 *            want                  bind, agent not idle          bind, agent idle
 *   ended ─────────▶ waiting ─────────────────────────▶ draining ───────────────▶ carried
 *     ▲                │ ▲ └───────────── bind, forced or idle ──────────────────▶ │
 *     │ withdraw, drop │ └──────────────── settle: failed, tried again ────────────┤
 *     └────────────────┴─────────────────── settle: done or given up ──────────────┘
 * ```
 */
export interface AgentTaskStore {
  /** Records wishes, at most 1,000, each agent and source once. Answers in their order. */
  want(wishes: readonly AgentTaskWish[], context: StoreContext): Promise<readonly WantedAgentTask[]>;
  /** Records that tasks are no longer wanted, at most 1,000. Answers in their order. */
  withdraw(
    keys: readonly AgentTaskKey[],
    reason: string,
    context: StoreContext,
  ): Promise<readonly WithdrawnAgentTask[]>;
  /** Records of tasks by source and agent id, at most 1,000 a page. `after` is the last one of the page before. */
  list(
    page: {
      readonly after?: AgentTaskKey;
      readonly limit: number;
      readonly source?: string;
      readonly agentId?: string;
      /** Leave those out of which nothing is wanted or done. Default false. */
      readonly onlyLive?: boolean;
      /** With the outputs of the leases that ended last. Default false. */
      readonly withOutputs?: boolean;
    },
    context: StoreContext,
  ): Promise<readonly AgentTaskRecord[]>;
  /** Tasks of a source that wait to be bound, the oldest wish first, at most 10,000. */
  open(source: string, context: StoreContext): Promise<readonly OpenAgentTask[]>;
  /**
   * Binds leases for tasks, or keeps places for their agents to be drained, in one transaction: the task is still the one that
   * was looked at, no lease carries it, the session is current, and what is drained for or carried stays within the caps,
   * counted under a lock that every server takes. A place that is kept counts until it expires or its agent has no session.
   */
  bind(request: BindAgentTasks, context: StoreContext): Promise<readonly BoundAgentTask[]>;
  /**
   * Ends tasks that can never be done, without a lease: `outcome` is `refused`. Another revision changes nothing. At most 256.
   */
  drop(
    entries: readonly (AgentTaskKey & {
      readonly revision: number;
      readonly reason: { readonly code: string; readonly message: string };
    })[],
    context: StoreContext,
  ): Promise<void>;
  /**
   * Settles the tasks of a source whose lease has ended or was given back to the queue (which then ends as well), at most
   * 1,000 a call. What the lease came to is read where it is kept, so that repeating it changes nothing and a crash between a
   * lease's end and its settling loses nothing. A lease that was refused for a passing reason is no failure.
   */
  settle(source: string, retry: AgentTaskRetry, context: StoreContext): Promise<readonly SettledAgentTask[]>;
}
