import { keyString } from './attempt-key.ts';
import type { AgentCopy, ServerLease } from './copies.ts';
import { decideEnd, settle, type ServerTurn } from './decide-end.ts';
import { allGuards } from './guards.ts';
import { listDigestText } from './list-digest.ts';
import { applyAgentCopy } from './apply-agent-copy.ts';
import type { BoundAttempt, ServerEffect, ServerEvent, ServerWrite, SessionEnd } from './server-machine.ts';
import type { ServerHolding, ServerState } from './server-state.ts';

/** What a step leaves: the same state object, changed, and what to do, in order. */
export interface ServerStep<Report = unknown> {
  readonly state: ServerState<Report>;
  readonly effects: readonly ServerEffect<Report>[];
}

/** Applies one event. See {@link stepServerBatch} for many at once. */
export function stepServer<Report>(state: ServerState<Report>, event: ServerEvent<Report>): ServerStep<Report> {
  return stepServerBatch(state, [event]);
}

/**
 * Applies events in order and then says once what follows: one write, one copy. An engine that has several events at
 * hand hands them over together; the result differs from single steps only in what is left out between them.
 */
export function stepServerBatch<Report>(
  state: ServerState<Report>,
  events: readonly ServerEvent<Report>[],
): ServerStep<Report> {
  const turn: ServerTurn<Report> = {
    guards: state.options.guards ?? allGuards,
    effects: [],
    dirty: false,
    urgent: false,
  };
  for (const event of events) {
    if (state.phase === 'ended') break;
    applyServerEvent(state, turn, event);
  }
  if (state.phase !== 'ended') conclude(state, turn);
  return { state, effects: turn.effects };
}

function applyServerEvent<Report>(
  state: ServerState<Report>,
  turn: ServerTurn<Report>,
  event: ServerEvent<Report>,
): void {
  if ('nowMs' in event && event.nowMs !== undefined) state.nowMs = event.nowMs;
  switch (event.type) {
    case 'loaded':
      return load(state, turn, event.attempts);
    case 'assigned':
      for (const attempt of event.attempts) hold(state, turn, attempt, false);
      checkBound(state, turn);
      return;
    case 'cancel-wished':
      return wishCancel(state, turn, state.holdings.get(keyString(event.key)));
    case 'link-opened':
      state.linkUp = true;
      state.greet = true;
      // Only a copy counts as hearing from the agent: an open link proves nothing about who holds it.
      return;
    case 'link-lost':
      state.linkUp = false;
      return;
    case 'copy-received':
      return receive(state, turn, event.copy);
    case 'written':
      return written(state, turn, event.writeId, event.result);
    case 'fenced':
      return endServerSession(state, turn, 'fenced', 'A newer session of this agent exists.');
    case 'stopping':
      return endServerSession(state, turn, 'server-stopping', 'This server stops; open a session with another.');
    case 'tick':
      return expire(state, turn);
  }
}

function load<Report>(state: ServerState<Report>, turn: ServerTurn<Report>, attempts: readonly BoundAttempt[]): void {
  if (state.phase !== 'loading') return;
  state.phase = 'active';
  state.lastHeardMs = state.nowMs;
  turn.dirty = true;
  for (const attempt of attempts) hold(state, turn, attempt, true);
  checkBound(state, turn);
  const early = state.early as AgentCopy<Report> | undefined;
  state.early = undefined;
  if (early !== undefined && (state.phase as string) !== 'ended') receive(state, turn, early);
}

/** Adds an attempt to the list. `sent`: an earlier session may have told the agent of it. */
function hold<Report>(
  state: ServerState<Report>,
  turn: ServerTurn<Report>,
  attempt: BoundAttempt,
  sent: boolean,
): void {
  const key = keyString(attempt);
  if (state.holdings.has(key)) return;
  const holding: ServerHolding<Report> = {
    leaseId: attempt.leaseId,
    attempt: attempt.attempt,
    state: attempt.state,
    // What an earlier session told the agent of, it took: an agent proves nothing else.
    startDueMs: sent || attempt.startMsMax === undefined ? undefined : state.nowMs + attempt.startMsMax,
    goingDown: false,
    listedRevision: state.revision + 1,
    sent,
    agentState: undefined,
    ending: undefined,
    queued: false,
  };
  state.holdings.set(key, holding);
  turn.dirty = true;
  turn.urgent = true;
  if (holding.startDueMs !== undefined) state.startDueMs = Math.min(state.startDueMs, holding.startDueMs);
  // Cancelled between its assignment and this event: the agent never has to hear of it.
  if (holding.state === 'cancelling') wishCancel(state, turn, holding);
}

function checkBound(state: ServerState, turn: ServerTurn): void {
  const max = state.options.leasesMax;
  if (state.holdings.size <= max) return;
  endServerSession(state, turn, 'too-many-leases', `${state.holdings.size} attempts; at most ${max} fit a list.`);
}

function wishCancel<Report>(
  state: ServerState<Report>,
  turn: ServerTurn<Report>,
  holding: ServerHolding<Report> | undefined,
): void {
  if (holding === undefined) return;
  if (holding.state !== 'cancelling') {
    holding.state = 'cancelling';
    turn.dirty = true;
    turn.urgent = true;
  }
  if (holding.ending === undefined && turn.guards['unoffered-needs-unsent'](holding.sent)) {
    decideEnd(state, turn, holding, { kind: 'cancelled-unoffered' });
  }
}

function receive<Report>(state: ServerState<Report>, turn: ServerTurn<Report>, copy: AgentCopy<Report>): void {
  const { options } = state;
  if (!turn.guards['server-ignores-other-epochs'](copy.epoch, options.epoch)) return;
  if (!turn.guards['nothing-before-loaded'](state.phase !== 'loading')) {
    state.early = copy;
    return;
  }
  state.lastHeardMs = state.nowMs;
  if (!turn.guards['server-ignores-older-copies'](copy.revision, state.applied)) return;
  if (state.greet || state.nowMs - state.lastSentMs >= options.heartbeatMs / 2) turn.urgent = true;
  state.greet = false;
  const complaint = applyAgentCopy(state, turn, copy);
  if (complaint !== undefined) endServerSession(state, turn, complaint.reason, complaint.message);
}

function written<Report>(
  state: ServerState<Report>,
  turn: ServerTurn<Report>,
  writeId: number,
  result: 'persisted' | 'fenced' | 'unknown',
): void {
  const { writing } = state;
  if (writing?.writeId !== writeId) return;
  state.writing = undefined;
  if (result === 'fenced') {
    return endServerSession(state, turn, 'fenced', 'The store holds a newer epoch of this agent.');
  }
  if (result === 'unknown') {
    return endServerSession(state, turn, 'store-lost', 'The store is away: nobody can say what is persisted.');
  }
  state.persisted = Math.max(state.persisted, writing.covers);
  for (const [index, holding] of writing.holdings.entries()) {
    const write = writing.writes[index]!;
    if (write.kind === 'end') {
      settle(state, turn, holding);
      // The agent keeps what it reported until it hears this.
      const { kind } = write.ending;
      if (kind === 'reported' || kind === 'refused') turn.urgent = true;
      // It may be about to take what it was offered.
      if (kind === 'not-started') turn.urgent = true;
      continue;
    }
    // A handler waits to hear it, and with it the machine.
    if (write.goingDown) turn.urgent = true;
    if (holding.state !== 'offered') continue;
    holding.state = 'accepted';
    turn.dirty = true;
  }
}

function expire(state: ServerState, turn: ServerTurn): void {
  if (state.phase !== 'active') return;
  if (state.nowMs >= state.startDueMs) endNotStarted(state, turn);
  if (state.nowMs < state.lastHeardMs + state.options.sessionTimeoutMs) return;
  const silenceMs = state.nowMs - state.lastHeardMs;
  endServerSession(state, turn, 'expired', `The agent has been silent for ${silenceMs} ms.`);
}

/**
 * Ends offers that nobody took in time. It is no absence that counts: like an expiry it ends the attempt whatever the agent
 * does, which hears of it as of an offer that was taken back, or, if it has just started, as of an orphan.
 */
function endNotStarted(state: ServerState, turn: ServerTurn): void {
  state.startDueMs = Infinity;
  for (const holding of state.holdings.values()) {
    const { startDueMs } = holding;
    if (startDueMs === undefined || holding.ending !== undefined) continue;
    if (!turn.guards['start-limit-of-offers'](holding.agentState === undefined && holding.state === 'offered'))
      continue;
    if (state.nowMs < startDueMs) state.startDueMs = Math.min(state.startDueMs, startDueMs);
    else decideEnd(state, turn, holding, { kind: 'not-started' });
  }
}

function endServerSession(state: ServerState, turn: ServerTurn, reason: SessionEnd, message: string): void {
  if (state.phase === 'ended') return;
  state.phase = 'ended';
  state.linkUp = false;
  state.holdings.clear();
  state.queue = [];
  state.writing = undefined;
  state.agentList = undefined;
  state.early = undefined;
  turn.effects.push({ type: 'end-session', reason, message });
}

/** Cuts the next write, then builds the copy: what is said rests on what is persisted. */
function conclude<Report>(state: ServerState<Report>, turn: ServerTurn<Report>): void {
  if (turn.dirty && state.phase !== 'loading') state.revision += 1;
  if (state.writing === undefined && state.queue.length > 0) cutWrite(state, turn);
  if (turn.guards['server-acknowledges-persisted'](state.writing === undefined)) state.persisted = state.applied;
  if (state.owesAcknowledgement > 0 && state.persisted >= state.owesAcknowledgement) {
    state.owesAcknowledgement = 0;
    turn.urgent = true;
  }
  if (turn.urgent && state.linkUp && turn.guards['nothing-before-loaded'](state.phase === 'active')) {
    sendServerCopy(state, turn);
  }
}

function cutWrite<Report>(state: ServerState<Report>, turn: ServerTurn<Report>): void {
  const holdings = state.queue;
  state.queue = [];
  const writes = holdings.map((holding): ServerWrite<Report> => {
    holding.queued = false;
    const key = { leaseId: holding.leaseId, attempt: holding.attempt };
    if (holding.ending === undefined) {
      return holding.goingDown ? { kind: 'acceptance', key, goingDown: true } : { kind: 'acceptance', key };
    }
    return { kind: 'end', key, ending: holding.ending, cancelWished: holding.state === 'cancelling' };
  });
  const writeId = state.nextWriteId++;
  state.writing = { writeId, holdings, writes, covers: state.applied };
  turn.effects.push({ type: 'write', writeId, writes });
}

function sendServerCopy<Report>(state: ServerState<Report>, turn: ServerTurn<Report>): void {
  const { options, revision } = state;
  const whole = state.owesWhole || state.acknowledgedByAgent < revision;
  const leases: ServerLease[] = [];
  for (const holding of state.holdings.values()) {
    if (holding.ending?.kind === 'cancelled-unoffered') continue;
    const { leaseId, attempt, listedRevision } = holding;
    holding.sent = true;
    leases.push({
      leaseId,
      attempt,
      state: holding.state,
      withWork: state.acknowledgedByAgent < listedRevision,
    });
  }
  state.owesWhole = false;
  state.lastSentMs = state.nowMs;
  turn.effects.push({
    type: 'send',
    copy: {
      sessionId: options.sessionId,
      epoch: options.epoch,
      revision,
      acknowledged: state.persisted,
      wantsWhole: state.wantsWhole,
      list: whole
        ? { kind: 'whole', leases }
        : { kind: 'digest', digest: options.digest(listDigestText(revision, leases)) },
    },
  });
}
