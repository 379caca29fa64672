import type { AgentHealth, LeaseFacts } from '@drover/agent-health';
import type { StoreContext } from './store-context.ts';

/** The health of an agent as it is stored. An agent without a record is healthy. */
export interface AgentHealthRecord extends AgentHealth {
  readonly agentId: string;
  /** Grows with every change. */
  readonly revision: number;
  /** While it is withheld: the pools whose caps count it. */
  readonly pools: readonly string[];
}

/** What is to become of one agent's health. */
export interface AgentHealthChange {
  readonly agentId: string;
  /** Of the record that was looked at; 0 for none. Another one changes nothing. */
  readonly revision: number;
  readonly next: AgentHealth | 'healthy';
  /** Most agents that are withheld, by pool. Asked of an agent that is withheld from now on; at most 64. */
  readonly caps: readonly { readonly pool: string; readonly max: number }[];
}

/** What became of a change. */
export type AgentHealthResult = { readonly agentId: string } & (
  | { readonly result: 'written' }
  /** The cap of this pool is reached: it is suspected, and stays at work. */
  | { readonly result: 'full'; readonly pool: string }
  /** Somebody else was first, or there is no such agent (any more). */
  | { readonly result: 'changed' }
);

/**
 * What leases' ends say of agents, and what follows. Nothing is written when a lease ends: the facts are read from the history,
 * where only bad ends are indexed by their time. Whoever changes something announces the signal `settings`.
 */
export interface AgentHealthStore {
  /** True for one caller in `everyMs`, whichever server asks: who gets it looks at the facts. 10 ms to 1 day. */
  claimPass(everyMs: number, context: StoreContext): Promise<boolean>;
  /**
   * Bad ends of jobs' leases in the last `windowMs`, at most 5,000 and of at most 200 jobs, the newest; and how many leases of
   * those jobs succeeded on which agents, of each job at most 2,000. `nowMs` is the store's time, as in all records.
   */
  facts(windowMs: number, context: StoreContext): Promise<LeaseFacts>;
  /** By agent id. */
  records(
    page: { readonly after?: string; readonly limit: number },
    context: StoreContext,
  ): Promise<readonly AgentHealthRecord[]>;
  /** Of these agents, at most 1,000; healthy ones are left out. */
  recordsOf(agentIds: readonly string[], context: StoreContext): Promise<readonly AgentHealthRecord[]>;
  /**
   * Changes the health of agents, at most 256, in one transaction, under a lock that every server takes: an agent that is to
   * be withheld is so only if fewer than `max` are in each of its pools; else it is suspected and at work. Answers in their
   * order.
   */
  change(changes: readonly AgentHealthChange[], context: StoreContext): Promise<readonly AgentHealthResult[]>;
  /**
   * Lets agents work whatever speaks against them, at most 1,000, all or none: ends before now no longer count. Answers the
   * records before, of those that had one. AGENT_NOT_FOUND.
   */
  clear(agentIds: readonly string[], comment: string, context: StoreContext): Promise<readonly AgentHealthRecord[]>;
}
