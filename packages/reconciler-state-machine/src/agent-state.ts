import type { AgentMachineOptions, JournalEntry, RefusalCause, SessionRejection, StopCause } from './agent-machine.ts';
import type { AttemptKey } from './attempt-key.ts';
import type { DigestLine } from './list-digest.ts';

/**
 * Where the agent stands with one attempt, in detail.
 *
 * ```
 *            ┌────────────── refused ──acknowledged──▶ (gone)
 *   waiting ─▶ considering ─▶ accepting ─▶ running ─▶ ending ─▶ finished ──acknowledged──▶ dropping ─▶ (gone)
 *                                            ▲                    ▲
 *   journal of an earlier process: accepted ─┘          finished ─┘
 * ```
 */
export type HoldingPhase =
  /** Offered, and the agent is full. */
  | 'waiting'
  /** The engine has been asked. */
  | 'considering'
  /** The acceptance is on its way to the journal. */
  | 'accepting'
  /** The handler has been started or resumed. */
  | 'running'
  /** The handler has returned; the end is on its way to the journal. */
  | 'ending'
  | 'finished'
  | 'refused'
  /** Settled; the line that says so is on its way to the journal. */
  | 'dropping';

/** One attempt, as the agent's machine holds it. */
export interface AgentHolding<Report = unknown> extends AttemptKey {
  phase: HoldingPhase;
  cutOff: 'stop' | 'go-on';
  report: Report | undefined;
  /** The own revision that first listed its present state in this session; 0 while no copy does. */
  listedRevision: number;
  /** The newest revision of the server that was applied before the one that offered it. */
  offeredAfter: number;
  /** Why its handler was told to stop; undefined if it was not. */
  stopped: StopCause | undefined;
  /** Why it can only be refused, as the engine was told. */
  mustRefuse: RefusalCause | undefined;
  /** Its handler has said that this process ends because of it. */
  goingDown: boolean;
  /** Its handler waits to hear that this is persisted. */
  awaitsTold: boolean;
  /** The server does not know it: it is dropped as soon as its handler has ended. */
  orphaned: boolean;
}

/** A line that is not on disk yet. At most one write is in flight; what comes meanwhile goes into the next. */
export interface JournalWriteInFlight<Report = unknown> {
  readonly writeId: number;
  readonly entries: readonly JournalEntry<Report>[];
}

/** When a revision was first sent: an answer that acknowledges it proves that the server was there after that. */
export interface SentMark {
  readonly revision: number;
  readonly sentAtMs: number;
}

/**
 * The agent's end. Owned by {@link stepAgent}: the step changes it in place and returns it. Plain data; nothing outside
 * the step writes to it.
 *
 * ```
 *   restoring ──restored──▶ opening ──session-opened──▶ session ──time-out, rejection──▶ opening
 *                              ▲ │ session-failed                       fenced, quarantined ──▶ leaving ──▶ exited
 *                         tick │ ▼
 *                             away
 * ```
 */
export interface AgentState<Report = unknown> {
  readonly options: AgentMachineOptions;
  phase: 'restoring' | 'opening' | 'away' | 'session' | 'leaving' | 'exited';
  link: 'none' | 'away' | 'opening' | 'up';
  /** When a session or link is tried again, while `phase` or `link` is `away`. */
  retryAtMs: number;
  backoffMs: number;
  sessionId: string;
  epoch: number;
  /** 0 before the first session of this process. */
  heartbeatMs: number;
  sessionTimeoutMs: number;
  readonly holdings: Map<string, AgentHolding<Report>>;
  /** Offers that are neither accepted and journalled nor refused, oldest first. */
  readonly undecided: Set<AgentHolding<Report>>;
  /** How many holdings take room: neither waiting nor dropping. */
  held: number;
  /** How many offers wait for room. */
  waiting: number;
  /** How many handlers wait to hear that their going down is persisted. */
  awaiting: number;
  revision: number;
  /** The newest revision that a sent copy had. */
  sentRevision: number;
  /** The revision of the first copy on this link that told of the wish to stop; 0 for none. */
  farewell: number;
  /** The revision with which the list last changed; a heartbeat makes a newer one with the same list. */
  listRevision: number;
  acknowledgedByServer: number;
  applied: number;
  serverList: readonly DigestLine[] | undefined;
  wantsWhole: boolean;
  owesWhole: boolean;
  queue: JournalEntry<Report>[];
  journalling: JournalWriteInFlight<Report> | undefined;
  nextWriteId: number;
  /** Revisions sent and not acknowledged, oldest first; at most 16. */
  marks: SentMark[];
  /** When the newest request was sent of which an answer has come. */
  answeredSentAtMs: number;
  /** The session's time-out has passed since then and the attempts' cut-off rules were applied. */
  cutOff: boolean;
  lastMarkMs: number;
  lastHeardMs: number;
  /** When an acceptance has waited long enough for company. */
  acceptanceDueMs: number | undefined;
  stopping: 'no' | 'drain' | 'cancel';
  busy: boolean;
  leaving: SessionRejection | undefined;
  nowMs: number;
}

/** An agent's process of which nothing is known yet: the first event is `restored`. */
export function initialAgentState<Report = unknown>(options: AgentMachineOptions): AgentState<Report> {
  return {
    options,
    phase: 'restoring',
    link: 'none',
    retryAtMs: 0,
    backoffMs: options.backoffMinMs,
    sessionId: '',
    epoch: 0,
    heartbeatMs: 0,
    sessionTimeoutMs: 0,
    holdings: new Map(),
    undecided: new Set(),
    held: 0,
    waiting: 0,
    awaiting: 0,
    revision: 0,
    sentRevision: 0,
    farewell: 0,
    listRevision: 0,
    acknowledgedByServer: 0,
    applied: 0,
    serverList: undefined,
    wantsWhole: false,
    owesWhole: false,
    queue: [],
    journalling: undefined,
    nextWriteId: 1,
    marks: [],
    answeredSentAtMs: 0,
    cutOff: false,
    lastMarkMs: 0,
    lastHeardMs: 0,
    acceptanceDueMs: undefined,
    stopping: 'no',
    busy: false,
    leaving: undefined,
    nowMs: 0,
  };
}

/** A link on which the server has been silent for this many heartbeats is dead. */
export const deadLinkHeartbeats = 3;

/** When the next `tick` is due, on the clock of the events; undefined for never. */
export function nextAgentDeadlineMs(state: AgentState): number | undefined {
  let dueMs = Infinity;
  if (state.phase === 'away' || (state.phase === 'session' && state.link === 'away')) dueMs = state.retryAtMs;
  if (state.phase === 'session' && state.link === 'up') {
    dueMs = Math.min(state.lastMarkMs + state.heartbeatMs, state.lastHeardMs + state.heartbeatMs * deadLinkHeartbeats);
    if (state.acceptanceDueMs !== undefined) dueMs = Math.min(dueMs, state.acceptanceDueMs);
  }
  const connecting = state.phase === 'session' || state.phase === 'opening' || state.phase === 'away';
  if (connecting && state.epoch > 0 && !state.cutOff) {
    dueMs = Math.min(dueMs, state.answeredSentAtMs + state.sessionTimeoutMs);
  }
  return dueMs === Infinity ? undefined : dueMs;
}
