/** What the agents of a channel are to become, and how fast. */
export interface Rollout {
  readonly channel: string;
  /** Drawn for each start and each resumption: what failed under an earlier one does not count. */
  readonly rolloutId: string;
  readonly version: string;
  /** One for each platform that the channel has; `any` serves those that are not named. */
  readonly bundles: readonly RolloutBundle[];
  /** Percent of the channel's agents, ascending, the last one 100. */
  readonly rings: readonly number[];
  /** Which of them it has come to. */
  readonly ring: number;
  /** How long a ring must have been done before the next begins. */
  readonly soakMs: number;
  /** Most agents that are drained or upgraded at once. */
  readonly atOnceMax: number;
  /**
   * - `rolling`: on its way through the rings.
   * - `halted`: nobody else is upgraded; by a failed upgrade or an operator.
   * - `complete`: every ring is done. Agents that come later are upgraded too.
   */
  readonly state: 'rolling' | 'halted' | 'complete';
  /** How long ago every agent of the ring was upgraded, by the store's clock; absent while that is not so. */
  readonly ringDoneForMs?: number;
}

/** The bundle of one platform. */
export interface RolloutBundle {
  /** `any`, or SYSTEM-PROCESSOR as Node names them. */
  readonly platform: string;
  readonly hash: string;
  readonly sizeBytes: number;
  /** The signature document. */
  readonly signature: string;
}

/** An agent of the channel, as a roll-out sees it. */
export interface RolloutAgent {
  readonly agentId: string;
  readonly online: boolean;
  /** Its agent has a handler for upgrades: it is supervised and trusts a key. */
  readonly upgradable: boolean;
  /** Present if a disabled or busy agent must not be waited for. */
  readonly aside?: string;
  readonly platform: string;
  /** SHA-256 of the bundle that it runs; absent if it runs none. */
  readonly bundle?: string;
  /** What this roll-out has done with it so far; absent: nothing. */
  readonly task?: {
    readonly state: 'waiting' | 'draining' | 'upgrading' | 'upgraded' | 'failed' | 'withdrawn';
    /** Set for `failed`. */
    readonly failure?: { readonly code: string; readonly message: string };
  };
}

/** Property of an agent that names its channel. */
export const channelProperty = 'agent_channel';
/** Property of an agent that names the bundle that it runs, by its SHA-256. */
export const bundleProperty = 'agent_bundle';

/** The name that groups the agent tasks of a roll-out. */
export function rolloutGroup(rolloutId: string): string {
  return `rollout:${rolloutId}`;
}
