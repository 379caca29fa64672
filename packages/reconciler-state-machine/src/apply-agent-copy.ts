import { keyString } from './attempt-key.ts';
import type { AgentCopy, AgentLease } from './copies.ts';
import { listDigestText } from './list-digest.ts';
import { semanticTable, type AgentColumn, type ServerRow } from './semantic-table.ts';
import type { SessionEnd } from './server-machine.ts';
import type { ServerHolding, ServerState } from './server-state.ts';
import { decideEnd, queueWrite, type ServerTurn } from './decide-end.ts';

/** Why a session cannot go on after a copy. */
export interface Complaint {
  readonly reason: SessionEnd;
  readonly message: string;
}

const violation = (message: string): Complaint => ({ reason: 'protocol-violation', message });

/** Applies the agent's copy to the server's state by the semantic table. */
export function applyAgentCopy<Report>(
  state: ServerState<Report>,
  turn: ServerTurn<Report>,
  copy: AgentCopy<Report>,
): Complaint | undefined {
  if (copy.acknowledged > state.revision) {
    return violation(`Revision ${copy.acknowledged} is acknowledged; ${state.revision} is the newest that exists.`);
  }
  const { list } = copy;
  const known = list.kind === 'digest' ? state.agentList : list.leases;
  if (known === undefined || (list.kind === 'digest' && !resolves(state, turn, copy.revision, list.digest))) {
    state.wantsWhole = true;
    turn.urgent = true;
    return undefined;
  }
  if (known.length > state.options.leasesMax * 2) {
    return {
      reason: 'too-many-leases',
      message: `The agent lists ${known.length} attempts; it may hold half of that.`,
    };
  }
  if (copy.wantsWhole) {
    state.owesWhole = true;
    turn.urgent = true;
  }
  const news = state.wantsWhole || copy.acknowledged > state.acknowledgedByAgent || copy.revision !== state.applied;
  if (list.kind === 'whole') state.wantsWhole = false;
  const first = state.applied === 0;
  state.acknowledgedByAgent = Math.max(state.acknowledgedByAgent, copy.acknowledged);
  state.applied = copy.revision;
  // Applying a copy twice changes nothing, and an idle agent's heartbeat touches no list.
  if (!news || (known.length === 0 && state.holdings.size === 0)) {
    state.agentList = known.length === 0 ? noLines : state.agentList;
    return undefined;
  }
  // The agent proved attempts that the store may not have bound: it keeps them until it hears so.
  if (first && known.length > 0) state.owesAcknowledgement = copy.revision;
  return list.kind === 'whole'
    ? applyWhole(state, turn, copy, list.leases)
    : applyAbsence(state, turn, copy, keysOf(known));
}

const noLines: readonly never[] = [];

function resolves(state: ServerState, turn: ServerTurn, revision: number, digest: string): boolean {
  const computed = state.options.digest(listDigestText(revision, state.agentList!));
  return turn.guards['server-verifies-digests'](digest as never, computed as never);
}

function applyWhole<Report>(
  state: ServerState<Report>,
  turn: ServerTurn<Report>,
  copy: AgentCopy<Report>,
  leases: readonly AgentLease<Report>[],
): Complaint | undefined {
  const keys = new Set<string>();
  const lines = [];
  for (const lease of leases) {
    const key = keyString(lease);
    keys.add(key);
    // The reports are not kept: they may be large, and the digest does not need them.
    lines.push({ leaseId: lease.leaseId, attempt: lease.attempt, state: lease.state });
    const holding = state.holdings.get(key);
    if (holding === undefined) continue;
    const complaint = applyListed(state, turn, holding, lease);
    if (complaint !== undefined) return complaint;
  }
  state.agentList = lines;
  return applyAbsence(state, turn, copy, keys);
}

const keysOf = (lines: readonly AgentLease[] | NonNullable<ServerState['agentList']>): ReadonlySet<string> =>
  new Set(lines.map(keyString));

function rowOf(holding: ServerHolding): ServerRow {
  return holding.state === 'cancelling' && !holding.sent ? 'cancelling-unsent' : holding.state;
}

/** The end of an attempt that the agent has told cannot be taken back, nor a refusal after an acceptance. */
function contradiction(holding: ServerHolding, lease: AgentLease): Complaint | undefined {
  const before = holding.agentState;
  const backwards =
    (before === 'finished' && lease.state !== 'finished') ||
    (before === 'refused' && lease.state !== 'refused') ||
    (before === 'accepted' && lease.state === 'refused') ||
    (before === 'going-down' && lease.state !== 'going-down' && lease.state !== 'finished') ||
    holding.ending?.kind === 'lost';
  if (!backwards) return undefined;
  const was = holding.ending?.kind === 'lost' ? 'absent' : before;
  return violation(`Attempt ${lease.attempt} of lease ${lease.leaseId} was ${was} and is now ${lease.state}.`);
}

function applyListed<Report>(
  state: ServerState<Report>,
  turn: ServerTurn<Report>,
  holding: ServerHolding<Report>,
  lease: AgentLease<Report>,
): Complaint | undefined {
  const complaint = contradiction(holding, lease);
  if (complaint !== undefined) return complaint;
  const before = holding.agentState;
  holding.agentState = lease.state;
  if (!turn.guards['end-decided-once'](holding.ending !== undefined)) return undefined;
  const row = rowOf(holding);
  const action = semanticTable[row][lease.state].server;
  switch (action) {
    case 'record-acceptance':
      if (before !== 'accepted') queueWrite(state, holding);
      return undefined;
    case 'record-going-down':
      if (before === 'going-down') return undefined;
      holding.goingDown = true;
      queueWrite(state, holding);
      return undefined;
    case 'end-reported':
      decideEnd(state, turn, holding, { kind: 'reported', report: lease.report as Report });
      return undefined;
    case 'end-refused':
      decideEnd(state, turn, holding, { kind: 'refused', report: lease.report as Report });
      return undefined;
    case 'protocol-violation':
      return violation(`Attempt ${lease.attempt} of lease ${lease.leaseId} is ${row} and cannot be ${lease.state}.`);
    default:
      return undefined;
  }
}

function applyAbsence<Report>(
  state: ServerState<Report>,
  turn: ServerTurn<Report>,
  copy: AgentCopy<Report>,
  listed: ReadonlySet<string>,
): undefined {
  for (const [key, holding] of state.holdings) {
    if (listed.has(key)) continue;
    if (!turn.guards['end-decided-once'](holding.ending !== undefined)) continue;
    const acknowledged = turn.guards['loss-needs-acknowledged-absence'](copy.acknowledged, holding.listedRevision);
    const column: AgentColumn = acknowledged ? 'absent-acknowledged' : 'absent-unacknowledged';
    const action = semanticTable[rowOf(holding)][column].server;
    if (action === 'end-lost') decideEnd(state, turn, holding, { kind: 'lost' });
    if (action === 'end-unoffered') decideEnd(state, turn, holding, { kind: 'cancelled-unoffered' });
  }
  return undefined;
}
