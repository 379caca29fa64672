import type { JournalEntry } from '../agent-machine.ts';
import type { AgentHolding } from '../agent-state.ts';
import { keyString, type AttemptKey } from '../attempt-key.ts';
import type { AgentCopy, ServerCopy } from '../copies.ts';
import type { ServerWrite } from '../server-machine.ts';
import type { ServerHolding } from '../server-state.ts';
import { checkLists } from './check-lists.ts';
import { createRanking, rankMax, type RevisionUse } from './ranking.ts';
import { simplify } from './simplify.ts';
import {
  agentPhases,
  agentStates,
  endings,
  entryKinds,
  globals,
  journals,
  links,
  perAttempt,
  phases,
  refusals,
  serverStates,
  stops,
  stores,
} from './world-codes.ts';
import { attemptKeys, isEnded, type Flight, type MeantLine, type Report, type Setting, type World } from './world.ts';

/** Writes worlds of one setting. The buffer is shared between calls. */
export interface Encoder {
  /** How many bytes a world takes: a multiple of 4. */
  readonly size: number;
  /** Writes a world, which it may change on the way, to a buffer that is valid until the next call. */
  readonly encode: (world: World) => Uint8Array;
}

/** The encoder of a setting. */
export function createEncoder(setting: Setting): Encoder {
  const keys = attemptKeys(setting.bounds);
  const keyStrings = keys.map(keyString);
  const { leases, attempts: perLease } = setting.bounds;
  const size = Math.ceil((keys.length * perAttempt + globals) / 4) * 4;
  const out = new Uint8Array(size);
  /** Without these guards a copy of an old epoch does matter. */
  const hearsOld = setting.removed.some((name) => name.endsWith('other-epochs'));
  const agentRevisions = createRanking(out);
  const serverRevisions = createRanking(out);
  /** The agent's revisions from this one on all stand for its present list. */
  let present = rankMax - 1;
  // A digest stands for a list that its receiver has: as long as that is checked, the list itself says as much.
  const keepsLists = setting.precise;
  const deaf = {
    server: setting.removed.includes('server-ignores-older-copies'),
    agent: setting.removed.includes('agent-ignores-older-copies'),
  };
  let cursor = 0;

  const put = (value: number): void => {
    out[cursor++] = value;
  };
  const flag = (value: boolean): void => put(value ? 1 : 0);
  const agentRevision = (value: number, use: RevisionUse): void => {
    agentRevisions.note(cursor, use);
    put(Math.min(value, present));
  };
  const serverRevision = (value: number, use: RevisionUse): void => {
    serverRevisions.note(cursor, use);
    put(value);
  };

  const stateIn = (lines: readonly MeantLine[] | undefined, key: AttemptKey, states: readonly unknown[]): number => {
    if (lines === undefined) return 0;
    for (const line of lines) {
      if (line.attempt === key.attempt && line.leaseId === key.leaseId) return states.indexOf(line.state);
    }
    return 0;
  };
  const writeIn = (writes: readonly ServerWrite<Report>[] | undefined, key: AttemptKey): number => {
    if (writes === undefined) return 0;
    for (const write of writes) {
      if (write.key.attempt !== key.attempt || write.key.leaseId !== key.leaseId) continue;
      if (write.kind === 'acceptance') return write.goingDown ? 12 : 1;
      return 1 + endings.indexOf(write.ending.kind) + (write.cancelWished ? 5 : 0);
    }
    return 0;
  };
  const entriesIn = (entries: readonly JournalEntry<Report>[] | undefined, key: AttemptKey): number => {
    let bits = 0;
    for (const entry of entries ?? []) {
      if (entry.key.attempt === key.attempt && entry.key.leaseId === key.leaseId)
        bits |= 1 << entryKinds.indexOf(entry.kind);
    }
    return bits;
  };

  function putAgentHolding(inSession: boolean, holding: AgentHolding<Report> | undefined): void {
    if (holding === undefined) {
      for (let n = 0; n < 4; n += 1) put(0);
      return;
    }
    const { phase } = holding;
    put(phases.indexOf(phase));
    agentRevision(inSession && phase !== 'dropping' ? holding.listedRevision : 0, 'lists');
    const undecided = phase === 'waiting' || phase === 'considering' || phase === 'accepting';
    serverRevision(inSession && undecided ? holding.offeredAfter : 0, 'acknowledges');
    put(
      stops.indexOf(holding.stopped) +
        6 * refusals.indexOf(holding.mustRefuse) +
        (holding.orphaned ? 24 : 0) +
        (holding.goingDown ? 48 : 0) +
        (holding.awaitsTold ? 96 : 0),
    );
  }

  function putServerHolding(holding: ServerHolding<Report> | undefined): void {
    if (holding === undefined) {
      for (let n = 0; n < 3; n += 1) put(0);
      return;
    }
    put(
      serverStates.indexOf(holding.state) +
        (holding.sent ? 3 : 0) +
        6 * agentStates.indexOf(holding.agentState) +
        30 * endings.indexOf(holding.ending?.kind),
    );
    // That the agent goes down matters only for the write that is to say so.
    const isSaying = holding.goingDown && (holding.queued || keepsLists);
    put((holding.queued ? 1 : 0) + (isSaying ? 2 : 0) + (holding.startDueMs === undefined ? 0 : 4));
    serverRevision(holding.listedRevision, 'lists');
  }

  function putAttempt(world: World, index: number, late: World['late']): void {
    const facts = world.attempts[index]!;
    if (facts.store === 'none') {
      // It does not exist: nobody has heard of it.
      out.fill(0, cursor, cursor + perAttempt);
      cursor += perAttempt;
      return;
    }
    const { key } = facts;
    const text = keyStrings[index]!;
    const { agent, server } = world;
    const held = agent.holdings.has(text);
    // An offer that ended as not started may still be on its way.
    const offers = [world.toAgent, late?.to === 'agent' ? late.flight : undefined];
    const comes = held || offers.some((flight) => flight !== undefined && stateIn(flight.meant, key, serverStates) > 0);
    const over = isEnded(facts.store) && (facts.store !== 'expired' || !comes);
    // An attempt that has ended may not start, started or not; one that the agent has let go of is over however it ended.
    put(stores.indexOf(over && !held ? 'reported' : facts.store));
    put(
      (facts.journal === 'dropped' && !held ? 0 : journals.indexOf(facts.journal) * 2) +
        (facts.started && !over ? 1 : 0) +
        (facts.goingDown && !over ? 8 : 0) +
        (facts.isBack && !over ? 16 : 0),
    );
    putAgentHolding(agent.phase === 'session', agent.holdings.get(text));
    put(entriesIn(agent.queue, key) + 8 * entriesIn(agent.journalling?.entries, key));
    putServerHolding(server?.holdings.get(text));
    put(writeIn(server?.writing?.writes, key));
    put(writeIn(world.limbo?.writes, key));
    put(stateIn(world.toServer?.meant, key, agentStates));
    put(stateIn(world.toAgent?.meant, key, serverStates));
    put(stateIn(late?.flight.meant, key, late?.to === 'server' ? agentStates : serverStates));
    const early = server?.early as AgentCopy<Report> | undefined;
    put(early?.list.kind === 'whole' ? stateIn(early.list.leases, key, agentStates) : 0);
    put(
      keepsLists && agent.phase === 'session'
        ? stateIn(agent.serverList as readonly MeantLine[] | undefined, key, serverStates)
        : 0,
    );
    put(keepsLists ? stateIn(server?.agentList as readonly MeantLine[] | undefined, key, agentStates) : 0);
  }

  /** A copy's header in five bytes; the first is 0 for no copy. */
  function putFlight(
    flight: Flight<AgentCopy<Report> | ServerCopy> | undefined,
    to: 'server' | 'agent',
    mark: number,
  ): void {
    if (flight === undefined) {
      for (let n = 0; n < 5; n += 1) put(0);
      return;
    }
    const { copy } = flight;
    put(mark);
    put(copy.list.kind === 'whole' || !keepsLists ? 0 : 1);
    const toServer = to === 'server';
    if (toServer) agentRevision(copy.revision, 'flies');
    else serverRevision(copy.revision, 'flies');
    if (toServer) serverRevision(copy.acknowledged, 'acknowledges');
    else agentRevision(copy.acknowledged, 'acknowledges');
    flag(copy.wantsWhole);
  }

  function putGlobals(world: World, late: World['late']): void {
    const { server, agent } = world;
    if (server === undefined) {
      for (let n = 0; n < 12; n += 1) put(0);
    } else {
      put(server.phase === 'loading' ? 1 : 2);
      flag(server.linkUp);
      serverRevision(server.revision, 'lists');
      serverRevision(server.acknowledgedByAgent, 'acknowledges');
      agentRevision(server.applied, 'applied');
      agentRevision(server.persisted, 'acknowledges');
      flag(server.wantsWhole);
      flag(server.owesWhole);
      agentRevision(server.owesAcknowledgement, 'lists');
      flag(keepsLists && server.agentList !== undefined);
      put(server.writing === undefined ? 0 : 1);
      agentRevision(server.writing?.covers ?? 0, 'acknowledges');
    }
    const early = server?.early as AgentCopy<Report> | undefined;
    putFlight(early && { copy: early, meant: [] }, 'server', 1);
    put(agentPhases.indexOf(agent.phase));
    const inSession = agent.phase === 'session';
    put(inSession ? links.indexOf(agent.link) : 0);
    agentRevision(inSession ? agent.revision : 0, 'lists');
    agentRevision(inSession ? agent.listRevision : 0, 'lists');
    agentRevision(inSession ? agent.acknowledgedByServer : 0, 'acknowledges');
    serverRevision(inSession ? agent.applied : 0, 'applied');
    flag(keepsLists && inSession && agent.serverList !== undefined);
    put((inSession && agent.wantsWhole ? 1 : 0) + (inSession && agent.owesWhole ? 2 : 0));
    flag(agent.journalling !== undefined);
    putFlight(world.toServer, 'server', 1);
    putFlight(world.toAgent, 'agent', 1);
    const old = late !== undefined && late.flight.copy.epoch !== world.storeEpoch;
    if (old) present = rankMax - 1;
    putFlight(late?.flight, late?.to ?? 'server', (late?.to === 'agent' ? 2 : 1) + (old ? 2 : 0));
    if (world.limbo === undefined) put(0);
    else put(world.limbo.epoch === world.storeEpoch ? 1 : 2);
  }

  /** Nobody listens to a copy of an old epoch, nor to one that is older than what was applied. */
  function matters(
    { server, agent, storeEpoch }: World,
    { to, flight: { copy } }: NonNullable<World['late']>,
  ): boolean {
    if (hearsOld) return true;
    if (copy.epoch !== storeEpoch) return false;
    if (to === 'server') return server !== undefined && (deaf.server || copy.revision >= server.applied);
    return agent.phase === 'session' && (deaf.agent || copy.revision >= agent.applied);
  }

  function encode(world: World): Uint8Array {
    cursor = 0;
    agentRevisions.clear();
    serverRevisions.clear();
    present = world.agent.phase === 'session' ? world.agent.listRevision : rankMax - 1;
    if (!keepsLists) {
      checkLists(world);
      simplify(world);
    }
    const late = world.late !== undefined && matters(world, world.late) ? world.late : undefined;
    for (let index = 0; index < keys.length; index += 1) putAttempt(world, index, late);
    putGlobals(world, late);
    agentRevisions.rank();
    serverRevisions.rank();
    while (cursor < size) put(0);
    if (leases === 2) orderLeases();
    return out;
  }

  const half = perLease * perAttempt;
  function orderLeases(): void {
    for (let n = 0; n < half; n += 1) {
      const difference = out[n]! - out[half + n]!;
      if (difference === 0) continue;
      if (difference < 0) return;
      for (let m = n; m < half; m += 1) {
        const first = out[m]!;
        out[m] = out[half + m]!;
        out[half + m] = first;
      }
      return;
    }
  }

  return { size, encode };
}
