import { keyString } from './attempt-key.ts';
import type { Guards } from './guards.ts';
import type { ServerEffect } from './server-machine.ts';
import type { ServerHolding, ServerState } from './server-state.ts';

/** What one step gathers before its writes are cut and its copy is built. */
export interface ServerTurn<Report = unknown> {
  readonly guards: Guards;
  readonly effects: ServerEffect<Report>[];
  /** The own list has changed: the revision grows. */
  dirty: boolean;
  /** The agent should hear from the server now. */
  urgent: boolean;
}

/** Decides how an attempt ends; the source hears of it when it is persisted. */
export function decideEnd<Report>(
  state: ServerState<Report>,
  turn: ServerTurn<Report>,
  holding: ServerHolding<Report>,
  ending: NonNullable<ServerHolding<Report>['ending']>,
): void {
  holding.ending = ending;
  queueWrite(state, holding);
  if (turn.guards['settle-after-persisted'](false)) settle(state, turn, holding);
}

/** Puts an attempt's change into the next write; an acceptance that waits there is replaced by the end. */
export function queueWrite<Report>(state: ServerState<Report>, holding: ServerHolding<Report>): void {
  if (holding.queued) return;
  holding.queued = true;
  state.queue.push(holding);
}

/** Drops an attempt whose end is persisted and says so. */
export function settle<Report>(
  state: ServerState<Report>,
  turn: ServerTurn<Report>,
  holding: ServerHolding<Report>,
): void {
  const key = keyString(holding);
  if (state.holdings.get(key) !== holding) return;
  state.holdings.delete(key);
  turn.dirty = true;
  turn.effects.push({
    type: 'settled',
    key: { leaseId: holding.leaseId, attempt: holding.attempt },
    ending: holding.ending!,
  });
}
