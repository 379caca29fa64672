import type { JournalEntry, RefusalCause, StopCause } from '../agent-machine.ts';
import type { AgentState, HoldingPhase } from '../agent-state.ts';
import type { AgentLeaseState, ServerLeaseState } from '../copies.ts';
import type { AttemptEnding } from '../server-machine.ts';
import type { JournalStatus, Report, StoreStatus } from './world.ts';

/*
 * A world as a short row of bytes, the same for worlds that behave alike:
 * - Revisions are only compared, and only a sender's newest grows: each side's numbers are replaced by their ranks.
 * - An epoch is current or old. A copy of an old epoch and the state of an agent without a session change nothing.
 * - The two leases are interchangeable: the smaller row comes first.
 */
/** Store states, by code. */
export const stores: readonly StoreStatus[] = [
  'none',
  'waiting',
  'offered',
  'accepted',
  'cancelling',
  'reported',
  'refused',
  'lost',
  'cancelled-unoffered',
  'expired',
];
/** What the journal says, by code. */
export const journals: readonly JournalStatus[] = ['none', 'accepted', 'finished', 'dropped'];
/** Phases of a holding of the agent, by code; 0 for none. */
export const phases: readonly (HoldingPhase | 'none')[] = [
  'none',
  'waiting',
  'considering',
  'accepting',
  'running',
  'ending',
  'finished',
  'refused',
  'dropping',
];
/** Causes of a stop, by code. */
export const stops: readonly (StopCause | undefined)[] = [
  undefined,
  'cancelled',
  'orphaned',
  'cut-off',
  'busy',
  'shutting-down',
];
/** Causes of a refusal, by code. */
export const refusals: readonly (RefusalCause | undefined)[] = [undefined, 'stopping', 'busy', 'cancelled'];
/** States in the server’s list, by code; 0 for not listed. */
export const serverStates: readonly (ServerLeaseState | undefined)[] = [undefined, 'offered', 'accepted', 'cancelling'];
/** States in the agent’s list, by code; 0 for not listed. */
export const agentStates: readonly (AgentLeaseState | undefined)[] = [
  undefined,
  'accepted',
  'refused',
  'finished',
  'going-down',
];
/** Ends, by code; 0 for none. */
export const endings: readonly (AttemptEnding<Report>['kind'] | undefined)[] = [
  undefined,
  'reported',
  'refused',
  'lost',
  'cancelled-unoffered',
  'not-started',
];
/** Phases of the agent, by code. */
export const agentPhases: readonly AgentState['phase'][] = [
  'restoring',
  'opening',
  'away',
  'session',
  'leaving',
  'exited',
];
/** States of the link, by code. */
export const links: readonly AgentState['link'][] = ['none', 'away', 'opening', 'up'];
/** Lines of the journal, by bit. */
export const entryKinds: readonly JournalEntry['kind'][] = ['accepted', 'finished', 'dropped'];

/** Bytes of one attempt. */
export const perAttempt = 18;
/** Bytes of what belongs to no attempt. */
export const globals = 44;

/** The epoch of the store in a world that was read. */
export const currentEpoch = 2;
/** Every earlier epoch in a world that was read. */
export const oldEpoch = 1;
