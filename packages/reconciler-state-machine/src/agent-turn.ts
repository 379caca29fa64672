import type { AgentEffect, RefusalCause, StopCause } from './agent-machine.ts';
import type { AgentHolding, AgentState } from './agent-state.ts';
import { keyString, type AttemptKey } from './attempt-key.ts';
import type { Guards } from './guards.ts';

/** What one step gathers before its journal write is cut and its copy is built. */
export interface AgentTurn<Report = unknown> {
  readonly guards: Guards;
  readonly effects: AgentEffect<Report>[];
  /** The own list has changed: the revision grows. */
  dirty: boolean;
  /** The server should hear of it now. */
  urgent: boolean;
  /** The server should hear something now. */
  heartbeat: boolean;
}

/** The key of an attempt alone, for an effect. */
export const keyOf = (holding: AttemptKey): AttemptKey => ({ leaseId: holding.leaseId, attempt: holding.attempt });

/** True if the agent's copies list the attempt. */
export function listed(holding: AgentHolding): boolean {
  const { phase } = holding;
  return phase === 'running' || phase === 'ending' || phase === 'finished' || phase === 'refused';
}

/** Takes up an offer of an attempt that the agent does not hold. */
export function takeUp<Report>(state: AgentState<Report>, turn: AgentTurn<Report>, key: AttemptKey): void {
  const holding: AgentHolding<Report> = {
    ...keyOf(key),
    phase: 'waiting',
    cutOff: 'stop',
    report: undefined,
    listedRevision: 0,
    offeredAfter: state.applied,
    stopped: undefined,
    mustRefuse: undefined,
    goingDown: false,
    awaitsTold: false,
    orphaned: false,
  };
  state.holdings.set(keyString(key), holding);
  state.undecided.add(holding);
  state.waiting += 1;
  if (state.held < state.options.leasesMax) consider(state, turn, holding);
}

/** Asks the engine about an offer, once, or once more with a reason to refuse. */
export function consider<Report>(
  state: AgentState<Report>,
  turn: AgentTurn<Report>,
  holding: AgentHolding<Report>,
  cause?: RefusalCause,
): void {
  if (holding.phase === 'waiting') {
    state.waiting -= 1;
    state.held += 1;
  }
  holding.phase = 'considering';
  holding.mustRefuse = cause ?? (state.stopping !== 'no' ? 'stopping' : state.busy ? 'busy' : undefined);
  const key = keyOf(holding);
  turn.effects.push(
    holding.mustRefuse === undefined
      ? { type: 'consider', key }
      : { type: 'consider', key, mustRefuse: holding.mustRefuse },
  );
}

/** Considers offers that waited for room, oldest first. */
export function considerWaiting<Report>(state: AgentState<Report>, turn: AgentTurn<Report>): void {
  if (state.waiting === 0) return;
  for (const holding of state.undecided) {
    if (state.held >= state.options.leasesMax) return;
    if (holding.phase === 'waiting') consider(state, turn, holding);
  }
}

/** Asks again about every offer that the engine could still accept. */
export function reconsider<Report>(state: AgentState<Report>, turn: AgentTurn<Report>, cause: RefusalCause): void {
  for (const holding of state.undecided) {
    if (holding.phase === 'waiting' || (holding.phase === 'considering' && holding.mustRefuse === undefined)) {
      consider(state, turn, holding, cause);
    }
  }
}

/** True for an attempt that this process leaves to the next one, whatever ends it. */
export function goesDown(holding: AgentHolding): boolean {
  return holding.goingDown && holding.phase === 'running' && !holding.orphaned;
}

/** Nobody waits any more to hear that the attempt's going down is persisted. */
export function stopAwaiting(state: AgentState, holding: AgentHolding): void {
  if (!holding.awaitsTold) return;
  holding.awaitsTold = false;
  state.awaiting -= 1;
}

/**
 * Tells a handler to stop, once; the first cause stands. An attempt that has not started is told right after its start. One
 * that goes down is left to the next process: the machine cannot be kept from what it is about to do.
 */
export function stop<Report>(turn: AgentTurn<Report>, holding: AgentHolding<Report>, cause: StopCause): void {
  if ((cause === 'shutting-down' || cause === 'busy') && goesDown(holding)) return;
  if (holding.stopped !== undefined || (holding.phase !== 'running' && holding.phase !== 'accepting')) return;
  holding.stopped = cause;
  if (holding.phase === 'running') turn.effects.push({ type: 'stop', key: keyOf(holding), cause });
}

/** Stops everything that runs or is about to. */
export function stopAll<Report>(state: AgentState<Report>, turn: AgentTurn<Report>, cause: StopCause): void {
  for (const holding of state.holdings.values()) stop(turn, holding, cause);
}

/** Lets go of a settled attempt: out of the list now, out of the memory when the journal says so. */
export function drop<Report>(state: AgentState<Report>, turn: AgentTurn<Report>, holding: AgentHolding<Report>): void {
  if (listed(holding)) turn.dirty = true;
  const journalled = holding.phase !== 'refused';
  stopAwaiting(state, holding);
  holding.phase = 'dropping';
  state.held -= 1;
  if (journalled) state.queue.push({ kind: 'dropped', key: keyOf(holding) });
  if (!journalled || turn.guards['journal-before-forget'](false)) forget(state, turn, holding);
  considerWaiting(state, turn);
}

/** Nothing is left of the attempt. */
export function forget<Report>(
  state: AgentState<Report>,
  turn: AgentTurn<Report>,
  holding: AgentHolding<Report>,
): void {
  if (!state.holdings.delete(keyString(holding))) return;
  turn.effects.push({ type: 'forget', key: keyOf(holding) });
}
