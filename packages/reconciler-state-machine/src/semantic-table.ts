import type { AgentLeaseState, ServerLeaseState } from './copies.ts';

/** Where the server stands with an attempt, as a row of the semantic table. */
export type ServerRow =
  | Exclude<ServerLeaseState, 'cancelling'>
  /** Cancelling, and no copy that was sent has ever listed it. */
  | 'cancelling-unsent'
  | 'cancelling'
  /** Not in the server's list, and the server has not acknowledged the agent's revision that listed it. */
  | 'absent-unacknowledged'
  /** Not in the server's list, in a copy that acknowledges the agent's revision that listed it. */
  | 'absent-acknowledged';

/** Where the agent stands with an attempt, as a column of the semantic table. */
export type AgentColumn =
  | AgentLeaseState
  /** Not in the agent's list, in a copy that does not acknowledge the server's revision that listed it. */
  | 'absent-unacknowledged'
  /** Not in the agent's list, in a copy that acknowledges the server's revision that listed it. */
  | 'absent-acknowledged';

/** What the server does when it applies a copy of the agent. */
export type ServerAction =
  /** Nothing changes: it goes on saying what it says. */
  | 'keep'
  | 'record-acceptance'
  /** Record that the agent goes down because of it, and with that the acceptance. */
  | 'record-going-down'
  | 'end-reported'
  | 'end-refused'
  | 'end-lost'
  | 'end-unoffered'
  | 'protocol-violation'
  /** It is not in the server's list: there is nothing to do but acknowledge. */
  | 'none';

/** What the agent does when it applies a copy of the server. */
export type AgentAction =
  /** Nothing changes. */
  | 'keep'
  /** Take up the offer: consider it, then accept or refuse. */
  | 'consider'
  | 'stop-cancelled'
  /** The server does not know it: stop it, then drop it. */
  | 'stop-orphaned'
  | 'drop'
  /** It is not in the agent's list: there is nothing to do but acknowledge. */
  | 'none';

/** What each end does about one attempt. */
export interface Cell {
  readonly server: ServerAction;
  readonly agent: AgentAction;
}

const cell = (server: ServerAction, agent: AgentAction): Cell => ({ server, agent });

/**
 * Who is right and what follows, for every pair of views of one attempt: the table of SPEC.md. Both machines look their
 * next action up here, so a pair that is not in the table cannot exist: the compiler asks for every row and column.
 */
export const semanticTable: Readonly<Record<ServerRow, Readonly<Record<AgentColumn, Cell>>>> = {
  offered: {
    'absent-unacknowledged': cell('keep', 'consider'),
    'absent-acknowledged': cell('end-lost', 'consider'),
    accepted: cell('record-acceptance', 'keep'),
    'going-down': cell('record-going-down', 'keep'),
    refused: cell('end-refused', 'keep'),
    finished: cell('end-reported', 'keep'),
  },
  accepted: {
    'absent-unacknowledged': cell('keep', 'none'),
    'absent-acknowledged': cell('end-lost', 'none'),
    accepted: cell('keep', 'keep'),
    'going-down': cell('record-going-down', 'keep'),
    refused: cell('protocol-violation', 'keep'),
    finished: cell('end-reported', 'keep'),
  },
  'cancelling-unsent': {
    'absent-unacknowledged': cell('end-unoffered', 'none'),
    'absent-acknowledged': cell('end-unoffered', 'none'),
    // The agent cannot know what it was never told of.
    accepted: cell('protocol-violation', 'none'),
    'going-down': cell('protocol-violation', 'none'),
    refused: cell('protocol-violation', 'none'),
    finished: cell('protocol-violation', 'none'),
  },
  cancelling: {
    'absent-unacknowledged': cell('keep', 'none'),
    'absent-acknowledged': cell('end-lost', 'none'),
    accepted: cell('keep', 'stop-cancelled'),
    'going-down': cell('record-going-down', 'stop-cancelled'),
    refused: cell('end-refused', 'keep'),
    // The agent was first: its result is kept, the wish stays visible.
    finished: cell('end-reported', 'keep'),
  },
  'absent-unacknowledged': {
    'absent-unacknowledged': cell('none', 'none'),
    'absent-acknowledged': cell('none', 'none'),
    accepted: cell('none', 'keep'),
    'going-down': cell('none', 'keep'),
    refused: cell('none', 'keep'),
    finished: cell('none', 'keep'),
  },
  'absent-acknowledged': {
    'absent-unacknowledged': cell('none', 'none'),
    'absent-acknowledged': cell('none', 'none'),
    accepted: cell('none', 'stop-orphaned'),
    'going-down': cell('none', 'stop-orphaned'),
    refused: cell('none', 'drop'),
    finished: cell('none', 'drop'),
  },
};
