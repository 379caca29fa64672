import { describe, expect, test } from 'vitest';
import type { AgentEvent } from './agent-machine.ts';
import { initialAgentState, type AgentState } from './agent-state.ts';
import type { AgentCopy, AgentLease, ServerCopy, ServerLease } from './copies.ts';
import type { ServerEffect } from './server-machine.ts';
import { initialServerState, type ServerState } from './server-state.ts';
import {
  semanticTable,
  type AgentAction,
  type AgentColumn,
  type ServerAction,
  type ServerRow,
} from './semantic-table.ts';
import { stepAgent } from './step-agent.ts';
import { stepServer } from './step-server.ts';

type Report = string;
const key = { leaseId: 'x', attempt: 1 };
const digest = (text: string): string => text;
const serverRows = ['offered', 'accepted', 'cancelling-unsent', 'cancelling'] as const;
const columns: readonly AgentColumn[] = [
  'absent-unacknowledged',
  'absent-acknowledged',
  'accepted',
  'going-down',
  'refused',
  'finished',
];

function loadedServer(state: 'offered' | 'accepted' | 'cancelling'): ServerState<Report> {
  const server = initialServerState<Report>({
    sessionId: 's',
    epoch: 1,
    heartbeatMs: 10,
    sessionTimeoutMs: 100,
    leasesMax: 8,
    digest,
  });
  stepServer(server, { type: 'link-opened', nowMs: 0 });
  stepServer(server, { type: 'loaded', attempts: [{ ...key, state }], nowMs: 0 });
  return server;
}

function serverIn(row: (typeof serverRows)[number]): ServerState<Report> {
  const server = loadedServer(row === 'cancelling-unsent' ? 'offered' : row);
  const holding = server.holdings.get('1:x')!;
  if (row === 'cancelling-unsent') {
    holding.sent = false;
    holding.state = 'cancelling';
  }
  return server;
}

function agentCopy(column: AgentColumn): AgentCopy<Report> {
  const leases: AgentLease<Report>[] = [];
  if (column === 'accepted' || column === 'going-down') leases.push({ ...key, state: column });
  if (column === 'refused' || column === 'finished') leases.push({ ...key, state: column, report: 'r' });
  const acknowledged = column === 'absent-unacknowledged' ? 0 : 1;
  return { sessionId: 's', epoch: 1, revision: 1, acknowledged, wantsWhole: false, list: { kind: 'whole', leases } };
}

/** What the server was seen to do. */
function seenServerAction(effects: readonly ServerEffect<Report>[]): ServerAction {
  const end = effects.find((effect) => effect.type === 'end-session');
  if (end !== undefined) return end.reason === 'protocol-violation' ? end.reason : 'none';
  const write = effects.find((effect) => effect.type === 'write')?.writes[0];
  if (write === undefined) return 'keep';
  if (write.kind === 'acceptance') return write.goingDown ? 'record-going-down' : 'record-acceptance';
  const actions = {
    reported: 'end-reported',
    refused: 'end-refused',
    lost: 'end-lost',
    // No copy has this for an answer.
    'not-started': 'none',
    'cancelled-unoffered': 'end-unoffered',
  } as const;
  return actions[write.ending.kind];
}

describe('the server does what the table says (I2, I4, I9)', () => {
  for (const row of serverRows) {
    test.each(columns)(`${row} × %s`, (column) => {
      const server = serverIn(row);
      const { effects } = stepServer(server, { type: 'copy-received', copy: agentCopy(column), nowMs: 0 });
      expect(seenServerAction(effects)).toBe(semanticTable[row][column].server);
      const write = effects.find((effect) => effect.type === 'write')?.writes[0];
      if (write?.kind === 'end') expect(write.cancelWished).toBe(row.startsWith('cancelling'));
    });
  }

  test.each(columns)('not listed × %s: nothing but the acknowledgement', (column) => {
    const server = loadedServer('offered');
    server.holdings.clear();
    const { effects } = stepServer(server, { type: 'copy-received', copy: agentCopy(column), nowMs: 0 });
    expect(effects.map(({ type }) => type)).toEqual(['send']);
    expect(semanticTable['absent-acknowledged'][column].server).toBe('none');
    expect(semanticTable['absent-unacknowledged'][column].server).toBe('none');
    expect(effects[0]).toMatchObject({ copy: { acknowledged: 1 } });
  });
});

const agentColumns = ['absent-unacknowledged', 'accepted', 'going-down', 'refused', 'finished'] as const;

function tell(agent: AgentState<Report>, ...events: AgentEvent<Report>[]) {
  return events.flatMap((event) => stepAgent(agent, event).effects);
}

/** An agent in a session that has told the server of the attempt at revision 2. */
function agentIn(column: (typeof agentColumns)[number]): AgentState<Report> {
  const agent = initialAgentState<Report>({
    leasesMax: 8,
    digest,
    backoffMinMs: 1,
    backoffMaxMs: 8,
    acceptanceDelayMs: 0,
  });
  tell(
    agent,
    { type: 'restored', attempts: [], nowMs: 0 },
    { type: 'session-opened', sessionId: 's', epoch: 1, heartbeatMs: 10, sessionTimeoutMs: 100, sentAtMs: 0, nowMs: 0 },
    { type: 'link-opened', nowMs: 0 },
  );
  if (column === 'absent-unacknowledged') return agent;
  tell(agent, { type: 'copy-received', copy: serverCopy('offered', 1, 0), nowMs: 0 });
  if (column === 'refused') {
    tell(agent, { type: 'considered', key, refusal: 'no' });
    return agent;
  }
  tell(agent, { type: 'considered', key, cutOff: 'stop' }, { type: 'journalled', writeId: 1 });
  if (column === 'going-down') tell(agent, { type: 'going-down', key });
  if (column === 'finished') {
    tell(agent, { type: 'handler-ended', key, report: 'done' }, { type: 'journalled', writeId: 2 });
  }
  return agent;
}

function serverCopy(row: ServerRow, revision: number, acknowledged: number): ServerCopy {
  const leases: ServerLease[] = [];
  if (row === 'offered' || row === 'accepted') leases.push({ ...key, state: row, withWork: true });
  if (row === 'cancelling' || row === 'cancelling-unsent') leases.push({ ...key, state: 'cancelling', withWork: true });
  return { sessionId: 's', epoch: 1, revision, acknowledged, wantsWhole: false, list: { kind: 'whole', leases } };
}

/** What the agent was seen to do. */
function seenAgentAction(agent: AgentState<Report>, types: readonly string[], cause: string | undefined): AgentAction {
  if (types.includes('consider')) return 'consider';
  if (cause === 'cancelled') return 'stop-cancelled';
  if (cause === 'orphaned') return 'stop-orphaned';
  const holding = agent.holdings.get('1:x');
  if (types.includes('forget') || holding?.phase === 'dropping') return 'drop';
  return holding === undefined ? 'none' : 'keep';
}

describe('the agent does what the table says (I2, I5)', () => {
  const rows: readonly ServerRow[] = [
    'offered',
    'accepted',
    'cancelling',
    'absent-unacknowledged',
    'absent-acknowledged',
  ];
  for (const row of rows) {
    test.each(agentColumns)(`${row} × %s`, (column) => {
      const agent = agentIn(column);
      const acknowledged = row === 'absent-acknowledged' ? agent.revision : 1;
      const effects = tell(agent, { type: 'copy-received', copy: serverCopy(row, 2, acknowledged), nowMs: 0 });
      const cause = effects.find((effect) => effect.type === 'stop')?.cause;
      const seen = seenAgentAction(
        agent,
        effects.map(({ type }) => type),
        cause,
      );
      expect(seen).toBe(semanticTable[row][column].agent);
    });
  }
});
