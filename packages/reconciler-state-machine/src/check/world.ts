import { initialAgentState, type AgentState } from '../agent-state.ts';
import type { AgentEvent } from '../agent-machine.ts';
import type { AttemptKey } from '../attempt-key.ts';
import type { AgentCopy, AgentLeaseState, ServerCopy, ServerLeaseState } from '../copies.ts';
import { guardsWithout, type GuardName, type Guards } from '../guards.ts';
import type { ServerState } from '../server-state.ts';
import type { ServerWrite } from '../server-machine.ts';

/** The model's reports carry nothing: an end is an end. */
export type Report = 'done' | 'refused';

/** How often each disturbance may happen in one run; each at most 3. Every way to spend them is explored. */
export interface Budgets {
  /** A copy, a request to open a session or its answer is lost, beyond those that a newer copy replaces. */
  readonly losses: number;
  /** A copy is delivered again, or only, at any later time, in whatever session there is then. */
  readonly repeats: number;
  /** The link breaks, and what is on it is lost. */
  readonly cuts: number;
  /** The agent's process is killed, with any part of the journal write in flight on disk, and started again. */
  readonly agentCrashes: number;
  /** The server's process is killed, with the write in flight persisted or not, and started again. */
  readonly serverCrashes: number;
  /** An attempt is no longer wanted. */
  readonly cancels: number;
  /** The agent refuses an attempt. */
  readonly refusals: number;
  /** The agent counts its session as timed out, and opens another while the server still has the first. */
  readonly timeouts: number;
  /** The server expires a session that it has no link for: what is bound to it ends as lost though the agent may hold it. */
  readonly expiries: number;
  /** An end loses a line of what it remembers of its peer's list. */
  readonly damages: number;
}

/** The names of the budgets, in the order of their packing. */
export const budgetNames = [
  'losses',
  'repeats',
  'cuts',
  'agentCrashes',
  'serverCrashes',
  'cancels',
  'refusals',
  'timeouts',
  'expiries',
  'damages',
] as const satisfies readonly (keyof Budgets)[];

/** What one run of the check explores. */
export interface Bounds extends Budgets {
  /** 1 or 2. */
  readonly leases: number;
  /** 1 or 2: whether the store makes a second attempt when the first is lost. */
  readonly attempts: number;
  /**
   * 1: handlers may say at any time that the agent goes down, the end of a session leaves what was accepted to the absence
   * that its lease grants, and offers have a time to be taken in, which an expiry ends. 0: none of this.
   */
  readonly absences: number;
}

/** The bounds that `npm run check:reconciler` states. */
export const defaultBounds: Bounds = {
  leases: 2,
  attempts: 2,
  losses: 2,
  repeats: 1,
  cuts: 1,
  agentCrashes: 1,
  serverCrashes: 1,
  cancels: 1,
  refusals: 1,
  timeouts: 0,
  expiries: 0,
  damages: 0,
  absences: 0,
};

/** Two leases with one attempt each, and nothing goes wrong. */
export const noDisturbance: Bounds = {
  leases: 2,
  attempts: 1,
  losses: 0,
  repeats: 0,
  cuts: 0,
  agentCrashes: 0,
  serverCrashes: 0,
  cancels: 0,
  refusals: 0,
  timeouts: 0,
  expiries: 0,
  damages: 0,
  absences: 0,
};

/**
 * Where the store stands with an attempt. `none`: it does not exist (yet). `waiting`: no session holds it. `expired`: lost
 * with its session, whatever the agent makes of it.
 */
export type StoreStatus =
  'none' | 'waiting' | ServerLeaseState | 'reported' | 'refused' | 'lost' | 'expired' | 'cancelled-unoffered';

/** True if the store holds an end. */
export function isEnded(status: StoreStatus): boolean {
  return status !== 'none' && status !== 'waiting' && !isBound(status);
}

/** True if a session holds the attempt. */
export function isBound(status: StoreStatus): status is ServerLeaseState {
  return status === 'offered' || status === 'accepted' || status === 'cancelling';
}

/** What is on the agent's disk about an attempt. */
export type JournalStatus = 'none' | 'accepted' | 'finished' | 'dropped';

/** One attempt outside both machines. */
export interface AttemptFacts {
  readonly key: AttemptKey;
  store: StoreStatus;
  journal: JournalStatus;
  /** Its handler has been started, by `start`. */
  started: boolean;
  /** The store holds that the agent goes down because of it. */
  goingDown: boolean;
  /** Another process than the one that said so has proven it since. */
  isBack: boolean;
}

/** A line of the list that a copy stands for, also when it carries only the digest. */
export interface MeantLine extends AttemptKey {
  readonly state: AgentLeaseState | ServerLeaseState;
}

/** A copy on its way. */
export interface Flight<Copy> {
  readonly copy: Copy;
  readonly meant: readonly MeantLine[];
}

/** A copy that the channel has kept back, to deliver it at any time. */
export type LateFlight =
  | { readonly to: 'server'; readonly flight: Flight<AgentCopy<Report>> }
  | { readonly to: 'agent'; readonly flight: Flight<ServerCopy> };

/** A write of a session that is gone: it may still reach the store. */
export interface LimboWrite {
  readonly epoch: number;
  readonly writes: readonly ServerWrite<Report>[];
}

/** Everything there is: both ends, the store, the journal and the channel, which holds one copy in each direction. */
export interface World {
  readonly attempts: readonly AttemptFacts[];
  storeEpoch: number;
  /** The session that the server's process holds; undefined when it holds none. */
  server: ServerState<Report> | undefined;
  limbo: LimboWrite | undefined;
  agent: AgentState<Report>;
  toServer: Flight<AgentCopy<Report>> | undefined;
  toAgent: Flight<ServerCopy> | undefined;
  late: LateFlight | undefined;
}

/** What stays the same in all worlds of one run. */
export interface Setting {
  readonly bounds: Bounds;
  readonly guards: Guards;
  readonly removed: readonly GuardName[];
  /**
   * True if worlds are compared as they are, but for the numbering of revisions; false if those that can only go on alike
   * are made the same first, which rests on all guards.
   */
  readonly precise: boolean;
  readonly agentOptions: AgentState['options'];
  /** By epoch. */
  readonly sessionOptions: readonly ServerState['options'][];
}

/** One heartbeat, in the model's time. Every other event happens at time 0. */
export const beatMs = 100;
/** How long an offer may wait for the agent to take it. */
export const startMs = 10_000;
/** Far beyond every other time of the model. */
export const timeoutMs = 1_000_000;

/** The model's digest: the text itself, which no two lists share. */
export const digest = (text: string): string => text;

/** The setting for some bounds, with guards taken away. */
export function settingOf(bounds: Bounds, removed: readonly GuardName[] = [], precise = false): Setting {
  const exact = precise || removed.length > 0 || bounds.damages > 0 || bounds.absences > 0;
  const guards = guardsWithout(...removed);
  return {
    bounds,
    guards,
    removed,
    precise: exact,
    agentOptions: {
      leasesMax: 8,
      digest,
      backoffMinMs: 1,
      backoffMaxMs: 1,
      acceptanceDelayMs: beatMs,
      guards,
    },
    sessionOptions: [0, 1, 2, 3].map((epoch) => optionsOfSession(guards, epoch)),
  };
}

/** A new agent process, before its journal is read. */
export function newAgent(setting: Setting): AgentState<Report> {
  return initialAgentState(setting.agentOptions);
}

/** The options of a session of the model's server. The model's epochs are small: see `currentEpoch` in codec.ts. */
export function sessionOptions(setting: Setting, epoch: number): ServerState['options'] {
  return setting.sessionOptions[epoch] ?? optionsOfSession(setting.guards, epoch);
}

function optionsOfSession(guards: Guards, epoch: number): ServerState['options'] {
  return {
    sessionId: `s${epoch}`,
    epoch,
    heartbeatMs: beatMs,
    sessionTimeoutMs: timeoutMs,
    leasesMax: 8,
    digest,
    guards,
  };
}

/** How the model answers a request for a session. */
export function openedEvent(epoch: number): AgentEvent<Report> {
  return {
    type: 'session-opened',
    sessionId: `s${epoch}`,
    epoch,
    heartbeatMs: beatMs,
    sessionTimeoutMs: timeoutMs,
    sentAtMs: 0,
    nowMs: 0,
  };
}

const leaseIds = 'abcdefgh';

/** The attempts of a run, in the order of their index: lease by lease, attempt by attempt. */
export function attemptKeys(bounds: Bounds): readonly AttemptKey[] {
  const keys: AttemptKey[] = [];
  for (let lease = 0; lease < bounds.leases; lease += 1) {
    for (let attempt = 1; attempt <= bounds.attempts; attempt += 1) keys.push({ leaseId: leaseIds[lease]!, attempt });
  }
  return keys;
}

/** The index of an attempt in {@link attemptKeys}. */
export function attemptIndex(bounds: Bounds, key: AttemptKey): number {
  return leaseIds.indexOf(key.leaseId) * bounds.attempts + key.attempt - 1;
}
