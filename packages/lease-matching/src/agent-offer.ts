import type { Properties } from './properties.ts';
import type { Resources } from './requirements.ts';

/** What an agent has left to give: the part of an {@link AgentOffer} that a lease uses up. */
export interface FreeCapacity {
  /** Leases that it can still take; a lease uses one slot. */
  readonly slotsFree: number;
  /** Counted resources that nothing uses; a resource that is absent counts as 0. */
  readonly resourcesFree: Resources;
  /** Nothing runs on the machine that Drover started: no lease, no LAN job, no sandbox. */
  readonly idle: boolean;
  /** An exclusive lease has the agent for itself. */
  readonly exclusivelyHeld: boolean;
}

/** One agent as matching sees it: plain data at one moment. */
export interface AgentOffer extends FreeCapacity {
  readonly agentId: string;
  /** Names of the pools that it is in, see `effectivePools`. */
  readonly pools: readonly string[];
  readonly properties: Properties;
  /** How many leases it takes at once when nothing runs. */
  readonly slotsTotal: number;
  /** Counted resources that it has when nothing runs; a resource that is absent counts as 0. */
  readonly resourcesTotal: Resources;
  /** It has a live session. */
  readonly hasSession: boolean;
  /** An operator lets it work. */
  readonly enabled: boolean;
  /** It is in a scheduled downtime. */
  readonly inDowntime: boolean;
  /** It fails leases that succeed elsewhere, and gets no ordinary work. Absent: it does. */
  readonly withheld?: 'suspected' | 'quarantined';
  /** Its process is going down. */
  readonly stopping: boolean;
  /** It reports that the machine is fit for work. */
  readonly healthy: boolean;
  /** The machine is needed for something else. */
  readonly busy: boolean;
  /** It takes nothing new until it is idle. */
  readonly draining: boolean;
}
