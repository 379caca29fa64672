import { consider, drop, forget, keyOf, listed, stop, stopAwaiting, takeUp, type AgentTurn } from './agent-turn.ts';
import type { AgentHolding, AgentState } from './agent-state.ts';
import { keyString } from './attempt-key.ts';
import type { ServerCopy, ServerLease } from './copies.ts';
import { listDigestText } from './list-digest.ts';
import { semanticTable, type AgentColumn, type ServerRow } from './semantic-table.ts';

/** Applies the server's copy to the agent's state by the semantic table. */
export function applyServerCopy<Report>(state: AgentState<Report>, turn: AgentTurn<Report>, copy: ServerCopy): void {
  const { guards } = turn;
  if (!guards['agent-ignores-other-epochs'](copy.epoch, state.epoch)) return;
  state.lastHeardMs = state.nowMs;
  state.backoffMs = state.options.backoffMinMs;
  if (!guards['agent-ignores-older-copies'](copy.revision, state.applied)) return;
  // No answer can acknowledge what was never sent: such a copy is not for this process.
  if (copy.acknowledged > state.revision) return;
  countAnswer(state, copy.acknowledged);
  const { list } = copy;
  const known = list.kind === 'digest' ? state.serverList : list.leases;
  if (known === undefined || (list.kind === 'digest' && !resolves(state, turn, copy.revision, list.digest))) {
    state.wantsWhole = true;
    turn.urgent = true;
    return;
  }
  const news = state.wantsWhole || copy.revision !== state.applied || copy.acknowledged > state.acknowledgedByServer;
  if (list.kind === 'whole') state.wantsWhole = false;
  if (copy.wantsWhole) {
    state.owesWhole = true;
    turn.urgent = true;
  }
  state.acknowledgedByServer = Math.max(state.acknowledgedByServer, copy.acknowledged);
  // Applying a copy twice changes nothing, and an idle heartbeat touches no list.
  if (news && (known.length > 0 || state.holdings.size > 0)) applyList(state, turn, copy, known, list.kind === 'whole');
  if (list.kind === 'whole') {
    state.serverList = list.leases.map(({ leaseId, attempt, state: said }) => ({ leaseId, attempt, state: said }));
  }
  state.applied = copy.revision;
  if (state.awaiting > 0) tellGoingDowns(state, turn);
}

/** Tells handlers that the server has persisted that they go down. */
function tellGoingDowns<Report>(state: AgentState<Report>, turn: AgentTurn<Report>): void {
  for (const holding of state.holdings.values()) {
    if (!holding.awaitsTold || holding.orphaned) continue;
    if (!turn.guards['going-down-told-when-acknowledged'](state.acknowledgedByServer, holding.listedRevision)) continue;
    stopAwaiting(state, holding);
    turn.effects.push({ type: 'told-going-down', key: keyOf(holding) });
  }
}

function resolves(state: AgentState, turn: AgentTurn, revision: number, digest: string): boolean {
  const computed = state.options.digest(listDigestText(revision, state.serverList!));
  return turn.guards['agent-verifies-digests'](digest as never, computed as never);
}

/** The session lives at least until its time-out after the newest request that the server has answered was sent. */
function countAnswer(state: AgentState, acknowledged: number): void {
  let answered = 0;
  while (answered < state.marks.length && state.marks[answered]!.revision <= acknowledged) answered += 1;
  if (answered === 0) return;
  state.answeredSentAtMs = Math.max(state.answeredSentAtMs, state.marks[answered - 1]!.sentAtMs);
  state.marks.splice(0, answered);
}

function applyList<Report>(
  state: AgentState<Report>,
  turn: AgentTurn<Report>,
  copy: ServerCopy,
  known: readonly (ServerLease | NonNullable<AgentState['serverList']>[number])[],
  whole: boolean,
): void {
  const keys = new Set<string>();
  for (const lease of known) {
    const key = keyString(lease);
    keys.add(key);
    // An unchanged list brings no orders: those were carried out when it came whole.
    if (whole) applyListed(state, turn, state.holdings.get(key), lease as ServerLease);
  }
  for (const [key, holding] of state.holdings) {
    if (!keys.has(key)) applyAbsent(state, turn, copy, holding);
  }
}

function columnOf(holding: AgentHolding): AgentColumn {
  const { phase } = holding;
  if (phase === 'finished' || phase === 'refused') return phase;
  if (!listed(holding) && phase !== 'accepting') return 'absent-unacknowledged';
  return holding.goingDown ? 'going-down' : 'accepted';
}

function applyListed<Report>(
  state: AgentState<Report>,
  turn: AgentTurn<Report>,
  holding: AgentHolding<Report> | undefined,
  lease: ServerLease,
): void {
  const unknown = holding === undefined || turn.guards['take-once'](true);
  const column = unknown ? 'absent-unacknowledged' : columnOf(holding);
  switch (semanticTable[lease.state][column].agent) {
    case 'consider':
      if (unknown) takeUp(state, turn, lease);
      return;
    case 'stop-cancelled':
      return stop(turn, holding!, 'cancelled');
    case 'none':
      if (holding === undefined) {
        // The server waits for the acknowledged absence.
        turn.urgent = true;
      } else if (lease.state === 'cancelling' && holding.mustRefuse === undefined && state.undecided.has(holding)) {
        consider(state, turn, holding, 'cancelled');
      }
      return;
    default:
      return;
  }
}

function applyAbsent<Report>(
  state: AgentState<Report>,
  turn: AgentTurn<Report>,
  copy: ServerCopy,
  holding: AgentHolding<Report>,
): void {
  if (state.undecided.has(holding)) return withdraw(state, turn, holding);
  const guard = {
    refused: 'refused-kept-until-acknowledged',
    finished: 'finished-kept-until-acknowledged',
    accepted: 'orphan-needs-acknowledged-absence',
    'going-down': 'orphan-needs-acknowledged-absence',
  } as const;
  const column = columnOf(holding);
  if (column === 'absent-unacknowledged' || column === 'absent-acknowledged') return;
  const acknowledged = turn.guards[guard[column]](copy.acknowledged, holding.listedRevision);
  const row: ServerRow = acknowledged ? 'absent-acknowledged' : 'absent-unacknowledged';
  const action = semanticTable[row][column].agent;
  if (action === 'drop') drop(state, turn, holding);
  if (action === 'stop-orphaned') {
    holding.orphaned = true;
    // Nothing of it is persisted any more; its handler is stopped instead.
    stopAwaiting(state, holding);
    stop(turn, holding, 'orphaned');
  }
}

/**
 * The server has taken an offer back before the agent answered it: it offers nothing before its list is complete and
 * ends no offer without saying so, hence the attempt belongs to an earlier session and was not bound to this one.
 */
function withdraw<Report>(state: AgentState<Report>, turn: AgentTurn<Report>, holding: AgentHolding<Report>): void {
  if (holding.phase === 'accepting') {
    holding.orphaned = true;
    return;
  }
  state.undecided.delete(holding);
  if (holding.phase === 'waiting') state.waiting -= 1;
  else state.held -= 1;
  forget(state, turn, holding);
}
