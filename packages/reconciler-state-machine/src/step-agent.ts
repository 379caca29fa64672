import type { AgentEffect, AgentEvent, JournalledAttempt, SessionRejection } from './agent-machine.ts';
import { deadLinkHeartbeats, type AgentHolding, type AgentState } from './agent-state.ts';
import { applyServerCopy } from './apply-server-copy.ts';
import { keyString } from './attempt-key.ts';
import type { AgentCopy, AgentLease } from './copies.ts';
import { allGuards } from './guards.ts';
import {
  considerWaiting,
  drop,
  forget,
  goesDown,
  keyOf,
  listed,
  reconsider,
  stop,
  stopAll,
  stopAwaiting,
  type AgentTurn,
} from './agent-turn.ts';
import { listDigestText } from './list-digest.ts';

/** What a step leaves: the same state object, changed, and what to do, in order. */
export interface AgentStep<Report = unknown> {
  readonly state: AgentState<Report>;
  readonly effects: readonly AgentEffect<Report>[];
}

/** Applies one event. See {@link stepAgentBatch} for many at once. */
export function stepAgent<Report>(state: AgentState<Report>, event: AgentEvent<Report>): AgentStep<Report> {
  return stepAgentBatch(state, [event]);
}

/**
 * Applies events in order and then says once what follows: one journal write, one copy. An engine that has several
 * events at hand (handlers that ended while the journal was busy) hands them over together.
 */
export function stepAgentBatch<Report>(
  state: AgentState<Report>,
  events: readonly AgentEvent<Report>[],
): AgentStep<Report> {
  const turn: AgentTurn<Report> = {
    guards: state.options.guards ?? allGuards,
    effects: [],
    dirty: false,
    urgent: false,
    heartbeat: false,
  };
  for (const event of events) {
    if (state.phase === 'exited') break;
    applyAgentEvent(state, turn, event);
  }
  if (state.phase !== 'exited') conclude(state, turn);
  return { state, effects: turn.effects };
}

function applyAgentEvent<Report>(state: AgentState<Report>, turn: AgentTurn<Report>, event: AgentEvent<Report>): void {
  if ('nowMs' in event) state.nowMs = event.nowMs;
  switch (event.type) {
    case 'restored':
      return restore(state, turn, event.attempts);
    case 'session-opened':
      return sessionOpened(state, turn, event);
    case 'session-failed':
      if (state.phase === 'opening') retryLater(state);
      return;
    case 'session-rejected':
      return sessionRejected(state, turn, event.reason);
    case 'link-opened':
      if (state.phase !== 'session' || state.link !== 'opening') return;
      state.link = 'up';
      state.lastHeardMs = state.nowMs;
      state.farewell = 0;
      turn.heartbeat = true;
      return;
    case 'link-lost':
      if (state.phase !== 'session' || state.link === 'none' || state.link === 'away') return;
      state.link = 'away';
      return retryLater(state);
    case 'copy-received':
      if (state.phase === 'session') applyServerCopy(state, turn, event.copy);
      return;
    case 'considered':
      return considered(state, turn, event);
    case 'journalled':
      return journalled(state, turn, event.writeId);
    case 'handler-ended':
      return handlerEnded(state, turn, state.holdings.get(keyString(event.key)), event.report);
    case 'going-down':
      return goDown(state, turn, state.holdings.get(keyString(event.key)));
    case 'stop-wished':
      // A second wish can only be stronger.
      if (state.stopping !== 'cancel') state.stopping = event.how;
      reconsider(state, turn, 'stopping');
      if (event.how === 'cancel') stopAll(state, turn, 'shutting-down');
      return;
    case 'busy':
      state.busy = event.busy;
      if (!event.busy) return;
      reconsider(state, turn, 'busy');
      return stopAll(state, turn, 'busy');
    case 'tick':
      return tick(state, turn);
  }
}

function restore<Report>(
  state: AgentState<Report>,
  turn: AgentTurn<Report>,
  attempts: readonly JournalledAttempt<Report>[],
): void {
  if (state.phase !== 'restoring') return;
  state.answeredSentAtMs = state.nowMs;
  for (const attempt of attempts) {
    const holding: AgentHolding<Report> = {
      leaseId: attempt.leaseId,
      attempt: attempt.attempt,
      phase: attempt.state === 'accepted' ? 'running' : 'finished',
      cutOff: attempt.cutOff,
      report: attempt.report,
      listedRevision: 0,
      offeredAfter: 0,
      stopped: undefined,
      mustRefuse: undefined,
      goingDown: false,
      awaitsTold: false,
      orphaned: false,
    };
    state.holdings.set(keyString(attempt), holding);
    state.held += 1;
    if (attempt.state !== 'accepted') continue;
    const key = keyOf(holding);
    turn.effects.push(turn.guards['resume-not-run'](true) ? { type: 'start', key } : { type: 'resume', key });
    if (state.busy) stop(turn, holding, 'busy');
    if (state.stopping === 'cancel') stop(turn, holding, 'shutting-down');
  }
  openSession(state, turn);
}

/** The proof holds everything that is not settled: an attempt that is left out of it ends as lost. */
function openSession<Report>(state: AgentState<Report>, turn: AgentTurn<Report>): void {
  state.phase = 'opening';
  if (state.link !== 'none' && state.link !== 'away') turn.effects.push({ type: 'close-link' });
  state.link = 'none';
  const proven = [];
  const goingDown = [];
  for (const holding of state.holdings.values()) {
    if (holding.phase === 'dropping' || holding.orphaned) continue;
    proven.push(keyOf(holding));
    if (goesDown(holding)) goingDown.push(keyOf(holding));
  }
  turn.effects.push({ type: 'open-session', proven, goingDown });
}

/** The engine adds the jitter. */
function retryLater(state: AgentState): void {
  if (state.phase === 'opening') state.phase = 'away';
  state.retryAtMs = state.nowMs + state.backoffMs;
  state.backoffMs = Math.min(state.options.backoffMaxMs, state.backoffMs * 2);
}

function sessionOpened<Report>(
  state: AgentState<Report>,
  turn: AgentTurn<Report>,
  event: Extract<AgentEvent<Report>, { type: 'session-opened' }>,
): void {
  if (state.phase !== 'opening') return;
  state.phase = 'session';
  state.link = 'opening';
  state.sessionId = event.sessionId;
  state.epoch = event.epoch;
  state.heartbeatMs = event.heartbeatMs;
  state.sessionTimeoutMs = event.sessionTimeoutMs;
  state.revision = 1;
  state.listRevision = 1;
  state.acknowledgedByServer = 0;
  state.applied = 0;
  state.serverList = undefined;
  state.wantsWhole = false;
  state.owesWhole = false;
  state.marks = [];
  state.sentRevision = 0;
  state.farewell = 0;
  state.answeredSentAtMs = event.sentAtMs;
  state.cutOff = false;
  state.acceptanceDueMs = undefined;
  turn.dirty = false;
  for (const holding of state.holdings.values()) holding.listedRevision = listed(holding) ? 1 : 0;
  for (const holding of state.undecided) holding.offeredAfter = 0;
  turn.effects.push({ type: 'open-link' });
}

function sessionRejected<Report>(state: AgentState<Report>, turn: AgentTurn<Report>, reason: SessionRejection): void {
  if (state.phase !== 'session' && state.phase !== 'opening') return;
  if (reason === 'unknown' && state.phase === 'session') return openSession(state, turn);
  if (reason === 'unknown' || reason === 'protocol-violation') {
    if (state.link === 'up' || state.link === 'opening') turn.effects.push({ type: 'close-link' });
    state.link = 'none';
    state.phase = 'opening';
    return retryLater(state);
  }
  if (state.link === 'up' || state.link === 'opening') turn.effects.push({ type: 'close-link' });
  state.link = 'none';
  state.phase = 'leaving';
  state.leaving = reason;
  // Another process holds this agent's name: what runs here is of no use to anybody.
  stopAll(state, turn, 'orphaned');
}

function considered<Report>(
  state: AgentState<Report>,
  turn: AgentTurn<Report>,
  event: Extract<AgentEvent<Report>, { type: 'considered' }>,
): void {
  const holding = state.holdings.get(keyString(event.key));
  if (holding?.phase !== 'considering' || state.phase === 'leaving') return;
  if ('refusal' in event) {
    holding.phase = 'refused';
    holding.report = event.refusal;
    holding.listedRevision = state.revision + 1;
    state.undecided.delete(holding);
    turn.dirty = true;
    turn.urgent = true;
    considerWaiting(state, turn);
    return;
  }
  // The answer crossed a reason to refuse: the engine has been asked again.
  if (holding.mustRefuse !== undefined) return;
  holding.phase = 'accepting';
  holding.cutOff = event.cutOff;
  state.queue.push({ kind: 'accepted', key: keyOf(holding) });
  if (turn.guards['journal-before-start'](false)) begin(state, turn, holding);
}

/** The acceptance is journalled: the handler starts, and the next copy lists it. */
function begin<Report>(state: AgentState<Report>, turn: AgentTurn<Report>, holding: AgentHolding<Report>): void {
  if (holding.phase !== 'accepting') return;
  state.undecided.delete(holding);
  if (holding.orphaned) return drop(state, turn, holding);
  holding.phase = 'running';
  holding.listedRevision = state.revision + 1;
  turn.dirty = true;
  const delayMs = state.options.acceptanceDelayMs ?? 25;
  if (delayMs === 0) turn.urgent = true;
  else state.acceptanceDueMs ??= state.nowMs + delayMs;
  turn.effects.push({ type: 'start', key: keyOf(holding) });
  // The handler answers a stop even before it has done anything, so a stop that came first is told after the start.
  if (holding.stopped !== undefined) turn.effects.push({ type: 'stop', key: keyOf(holding), cause: holding.stopped });
}

/** The next copy says so; what it covers is persisted when it is acknowledged. */
function goDown<Report>(
  state: AgentState<Report>,
  turn: AgentTurn<Report>,
  holding: AgentHolding<Report> | undefined,
): void {
  if (holding?.phase !== 'running' || holding.goingDown) return;
  holding.goingDown = true;
  holding.awaitsTold = true;
  holding.listedRevision = state.revision + 1;
  state.awaiting += 1;
  turn.dirty = true;
  turn.urgent = true;
}

function handlerEnded<Report>(
  state: AgentState<Report>,
  turn: AgentTurn<Report>,
  holding: AgentHolding<Report> | undefined,
  report: Report,
): void {
  if (holding?.phase !== 'running') return;
  if (holding.orphaned) return drop(state, turn, holding);
  stopAwaiting(state, holding);
  holding.report = report;
  holding.phase = 'ending';
  state.queue.push({ kind: 'finished', key: keyOf(holding), report });
  if (turn.guards['journal-before-report'](false)) reportEnd(state, turn, holding);
}

function reportEnd<Report>(state: AgentState<Report>, turn: AgentTurn<Report>, holding: AgentHolding<Report>): void {
  if (holding.phase !== 'ending') return;
  if (holding.orphaned) return drop(state, turn, holding);
  holding.phase = 'finished';
  holding.listedRevision = state.revision + 1;
  turn.dirty = true;
  turn.urgent = true;
}

function journalled<Report>(state: AgentState<Report>, turn: AgentTurn<Report>, writeId: number): void {
  const { journalling } = state;
  if (journalling?.writeId !== writeId) return;
  state.journalling = undefined;
  for (const entry of journalling.entries) {
    const holding = state.holdings.get(keyString(entry.key));
    if (holding === undefined) continue;
    // A process that is fenced starts nothing: its successor finds the acceptance in the journal.
    if (entry.kind === 'accepted' && state.phase !== 'leaving') begin(state, turn, holding);
    if (entry.kind === 'finished') reportEnd(state, turn, holding);
    if (entry.kind === 'dropped') forget(state, turn, holding);
  }
}

function tick<Report>(state: AgentState<Report>, turn: AgentTurn<Report>): void {
  const { nowMs } = state;
  const connecting = state.phase === 'session' || state.phase === 'opening' || state.phase === 'away';
  if (connecting && state.epoch > 0 && !state.cutOff && nowMs >= state.answeredSentAtMs + state.sessionTimeoutMs) {
    state.cutOff = true;
    for (const holding of state.holdings.values()) if (holding.cutOff === 'stop') stop(turn, holding, 'cut-off');
    // The server may have given the attempts to others by now: only a new session can tell.
    if (state.phase === 'session') return openSession(state, turn);
  }
  if (state.phase === 'away' && nowMs >= state.retryAtMs) return openSession(state, turn);
  if (state.phase !== 'session') return;
  if (state.link === 'away' && nowMs >= state.retryAtMs) {
    state.link = 'opening';
    turn.effects.push({ type: 'open-link' });
  }
  if (state.link !== 'up') return;
  if (nowMs >= state.lastHeardMs + state.heartbeatMs * deadLinkHeartbeats) {
    turn.effects.push({ type: 'close-link' });
    state.link = 'away';
    return retryLater(state);
  }
  if (state.acceptanceDueMs !== undefined && nowMs >= state.acceptanceDueMs) turn.urgent = true;
  if (nowMs >= state.lastMarkMs + state.heartbeatMs) turn.heartbeat = true;
}

/** Cuts the next journal write, then builds the copy, then looks whether everything is done. */
function conclude<Report>(state: AgentState<Report>, turn: AgentTurn<Report>): void {
  if (state.stopping !== 'no') {
    if (state.farewell === 0) turn.heartbeat = true;
    // The process ends now: what else runs would only be cut off.
    if (anyGoesDown(state)) stopAll(state, turn, 'shutting-down');
  }
  if (state.phase === 'session' && turn.dirty) {
    state.revision += 1;
    state.listRevision = state.revision;
  } else if (turn.heartbeat && state.sentRevision >= state.revision) {
    // A revision of its own, so that the answer proves that the server was there after this moment.
    state.revision += 1;
  }
  if (state.journalling === undefined && state.queue.length > 0) {
    const writeId = state.nextWriteId++;
    state.journalling = { writeId, entries: state.queue };
    state.queue = [];
    turn.effects.push({ type: 'journal', writeId, entries: state.journalling.entries });
  }
  if ((turn.urgent || turn.heartbeat) && state.phase === 'session' && state.link === 'up') sendAgentCopy(state, turn);
  leave(state, turn);
}

/** What the agent may acknowledge: everything up to the oldest offer that is not decided. */
function acknowledgeable(state: AgentState, turn: AgentTurn): number {
  for (const holding of state.undecided) {
    if (!turn.guards['agent-acknowledges-decided'](false)) return holding.offeredAfter;
  }
  return state.applied;
}

function sendAgentCopy<Report>(state: AgentState<Report>, turn: AgentTurn<Report>): void {
  const { revision, options } = state;
  const whole = state.owesWhole || state.acknowledgedByServer < state.listRevision;
  const leases: AgentLease<Report>[] = [];
  for (const holding of state.holdings.values()) {
    if (!listed(holding)) continue;
    const { leaseId, attempt, phase } = holding;
    if (phase === 'finished' || phase === 'refused') {
      leases.push({ leaseId, attempt, state: phase, report: holding.report as Report });
    } else {
      leases.push({ leaseId, attempt, state: holding.goingDown ? 'going-down' : 'accepted' });
    }
  }
  const copy: AgentCopy<Report> = {
    sessionId: state.sessionId,
    epoch: state.epoch,
    revision,
    acknowledged: acknowledgeable(state, turn),
    // A stopping agent asks what the server still holds for it: an offer on its way must not be left behind.
    wantsWhole: state.wantsWhole || (state.stopping !== 'no' && state.farewell === 0),
    list: whole
      ? { kind: 'whole', leases }
      : { kind: 'digest', digest: options.digest(listDigestText(revision, leases)) },
  };
  state.owesWhole = false;
  state.acceptanceDueMs = undefined;
  if (state.stopping !== 'no' && state.farewell === 0) state.farewell = revision;
  if (revision > state.sentRevision) {
    state.sentRevision = revision;
    state.lastMarkMs = state.nowMs;
    // Forgetting the newest is safe: the time-out is then counted from an earlier moment.
    if (state.marks.length < 16) state.marks.push({ revision, sentAtMs: state.nowMs });
  }
  turn.effects.push({ type: 'send', copy });
}

function anyGoesDown(state: AgentState): boolean {
  for (const holding of state.holdings.values()) if (goesDown(holding)) return true;
  return false;
}

function leave<Report>(state: AgentState<Report>, turn: AgentTurn<Report>): void {
  if (state.journalling !== undefined) return;
  if (state.phase === 'leaving') {
    for (const holding of state.holdings.values()) if (holding.phase === 'running') return;
    state.phase = 'exited';
    turn.effects.push({ type: 'exit', reason: state.leaving === 'quarantined' ? 'quarantined' : 'fenced' });
    return;
  }
  if (state.stopping === 'no' || state.phase === 'restoring') return;
  if (anyGoesDown(state)) {
    // It does not wait for the server: the network may be gone before the machine is.
    for (const holding of state.holdings.values()) if (!goesDown(holding) && holding.phase !== 'waiting') return;
    state.phase = 'exited';
    turn.effects.push({ type: 'exit', reason: 'going-down' });
    return;
  }
  if (state.holdings.size > 0) return;
  const heard = state.farewell > 0 && state.acknowledgedByServer >= state.farewell;
  if (state.link === 'up' && !heard) return;
  state.phase = 'exited';
  turn.effects.push({ type: 'exit', reason: 'drained' });
}
