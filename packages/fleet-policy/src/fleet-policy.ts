import type { Pools } from '@drover/lease-matching';
import type { AgentHealthRecord, AgentSettings, SettingNote } from '@drover/lease-store';

/** What operators and facts say about one agent at one moment. All absent: it may work. */
export interface AgentPolicy {
  /** It gets no work but from sources that say so. */
  readonly disabled?: SettingNote;
  /** The machine is needed for something else: it gets no work, and what runs is cancelled. */
  readonly busy?: NonNullable<AgentSettings['busy']>;
  /** It is in a scheduled downtime: the one that ends last. */
  readonly downtime?: SettingNote & { readonly untilMs: number };
  /** It fails leases that succeed elsewhere: no work but from sources that assign to disabled agents, its canary among them. */
  readonly withheld?: AgentHealthRecord;
}

/** Pools and what operators say about agents, as this process knows them. Every answer comes from memory. */
export interface FleetPolicy {
  readonly pools: Pools;
  /** What is so now for an agent in these pools. The same object for as long as nothing is set. */
  policyOf(agentId: string, pools: readonly string[]): AgentPolicy;
  /**
   * How much of a pool (undefined: of work that names none) a submitter gets compared with others: what the pool's definition
   * says of this name of a principal, otherwise 1.
   */
  weightOf(pool: string | undefined, submitter: string): number;
  /** Calls `listener` whenever answers may have become different. Returns how to stop. */
  onChange(listener: () => void): () => void;
}

/** A policy that follows a store. */
export interface LiveFleetPolicy extends FleetPolicy, AsyncDisposable {
  /** Reads everything once and follows it from then on. Rejects if the store does not answer; may then be tried again. */
  start(signal?: AbortSignal): Promise<void>;
  /** Reads everything now, e.g. after a write of one's own. Rejects if the store does not answer. */
  refresh(): Promise<void>;
}

const nothing: AgentPolicy = Object.freeze({});

/** A policy without pools and settings: every agent may work. */
export const openPolicy: FleetPolicy = {
  pools: [],
  policyOf: () => nothing,
  weightOf: () => 1,
  onChange: () => () => undefined,
};
