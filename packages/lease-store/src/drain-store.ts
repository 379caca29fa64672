import type { SessionRef } from './lease-queue.ts';
import type { StoreContext } from './store-context.ts';

/** That an agent is to get no work but that of one source, until it is idle or the drain expires. */
export interface AgentDrain extends SessionRef {
  /** The task source that owns it. */
  readonly source: string;
  /** For people; at most 4,096 bytes are kept. */
  readonly reason: string;
  /** How long it lasts if it is not repeated: 1 ms to 31 days. */
  readonly ttlMs: number;
}

/** A drain as it is remembered. */
export interface RecordedDrain {
  readonly source: string;
  readonly reason: string;
  /** How long it lasts from now on. */
  readonly remainingMs: number;
}

/**
 * The drains of agents, so that they outlive the server that was told of them: opening a session answers the agent's, and
 * an agent's record shows it. An agent has one at the most.
 */
export interface DrainStore {
  /** Remembers drains, each in place of the one that its agent had; at most 1,024. Those of other sessions change nothing. */
  record(drains: readonly AgentDrain[], context: StoreContext): Promise<void>;
  /** Forgets drains, at most 1,024, if they are still those of the named sources and sessions. */
  release(drains: readonly (SessionRef & { readonly source: string })[], context: StoreContext): Promise<void>;
}
