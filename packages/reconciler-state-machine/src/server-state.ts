import type { AttemptKey } from './attempt-key.ts';
import type { AgentLeaseState, ServerLeaseState } from './copies.ts';
import type { DigestLine } from './list-digest.ts';
import type { AttemptEnding, ServerMachineOptions, ServerWrite } from './server-machine.ts';

/** One attempt, as the server's machine holds it. */
export interface ServerHolding<Report = unknown> extends AttemptKey {
  /** As persisted, and as the next copy says. */
  state: ServerLeaseState;
  /** When an offer that was not taken ends as not started; undefined for never. */
  startDueMs: number | undefined;
  /** The agent goes down because of it, as it said in this session. */
  goingDown: boolean;
  /** The server's revision that first listed it in this session. */
  readonly listedRevision: number;
  /** True if a copy that was sent may have listed it, in this session or an earlier one. */
  sent: boolean;
  /** What the agent last said of it; undefined for nothing yet. */
  agentState: AgentLeaseState | undefined;
  /** Decided, and not to be changed any more; persisted when the write that holds it is. */
  ending: AttemptEnding<Report> | undefined;
  /** It has a change that waits for the write in flight to be done. */
  queued: boolean;
}

/** A write that the store has not answered yet. At most one is in flight; what comes meanwhile goes into the next. */
export interface ServerWriteInFlight<Report = unknown> {
  readonly writeId: number;
  readonly holdings: readonly ServerHolding<Report>[];
  readonly writes: readonly ServerWrite<Report>[];
  /** The agent's revision of which everything is persisted when this write is. */
  readonly covers: number;
}

/** What an agent said that the server does not hold is compared against digests in this form. */
export type RememberedList = readonly DigestLine[];

/**
 * The server's end of one session. Owned by {@link stepServer}: the step changes it in place and returns it, so that
 * an idle session costs nothing and a busy one is not copied. Plain data; nothing outside the step writes to it.
 *
 * ```
 *   loading ──loaded──▶ active ──fenced, expired, violation, stopping──▶ ended
 * ```
 */
export interface ServerState<Report = unknown> {
  readonly options: ServerMachineOptions;
  phase: 'loading' | 'active' | 'ended';
  linkUp: boolean;
  /** The agent has opened a link and nothing has been said on it yet. */
  greet: boolean;
  readonly holdings: Map<string, ServerHolding<Report>>;
  /** Of the own list; 0 before it is loaded. */
  revision: number;
  /** The newest own revision that the agent has acknowledged. */
  acknowledgedByAgent: number;
  /** The newest revision of the agent that was applied. */
  applied: number;
  /** The newest revision of the agent of which everything is persisted: what the copies acknowledge. */
  persisted: number;
  /** The agent's list at the revision that was applied, for digests; undefined before the first. */
  agentList: RememberedList | undefined;
  /** The agent's last digest could not be resolved. */
  wantsWhole: boolean;
  /** The agent could not resolve the own last digest. */
  owesWhole: boolean;
  /** The agent waits for the acknowledgement of this revision; 0 for none. */
  owesAcknowledgement: number;
  queue: ServerHolding<Report>[];
  writing: ServerWriteInFlight<Report> | undefined;
  nextWriteId: number;
  /** A copy that came before the list was loaded. */
  early: unknown;
  /** The newest time that an event has told. */
  nowMs: number;
  lastHeardMs: number;
  lastSentMs: number;
  /** When the first offer ends as not started; Infinity for never. It may be early: what is due is looked for then. */
  startDueMs: number;
}

/** A session of which nothing is known yet: the first event is `loaded`. */
export function initialServerState<Report = unknown>(options: ServerMachineOptions): ServerState<Report> {
  return {
    options,
    phase: 'loading',
    linkUp: false,
    greet: false,
    holdings: new Map(),
    revision: 0,
    acknowledgedByAgent: 0,
    applied: 0,
    persisted: 0,
    agentList: undefined,
    wantsWhole: false,
    owesWhole: false,
    owesAcknowledgement: 0,
    queue: [],
    writing: undefined,
    nextWriteId: 1,
    early: undefined,
    nowMs: 0,
    lastHeardMs: 0,
    lastSentMs: 0,
    startDueMs: Infinity,
  };
}

/** When the next `tick` is due, on the clock of the events; undefined for never. */
export function nextServerDeadlineMs(state: ServerState): number | undefined {
  if (state.phase !== 'active') return undefined;
  return Math.min(state.lastHeardMs + state.options.sessionTimeoutMs, state.startDueMs);
}
