import type { AgentHolding, AgentState, HoldingPhase } from '../agent-state.ts';
import type { JournalEntry, RefusalCause, StopCause } from '../agent-machine.ts';
import { keyString, type AttemptKey } from '../attempt-key.ts';
import type { AgentCopy, AgentLease, AgentLeaseState, ServerCopy, ServerLease, ServerLeaseState } from '../copies.ts';
import { listDigestText, type DigestLine } from '../list-digest.ts';
import { createRanking, rankMax, type RevisionUse } from './ranking.ts';
import type { AttemptEnding, ServerWrite } from '../server-machine.ts';
import { initialServerState, type ServerHolding, type ServerState } from '../server-state.ts';
import { agentLines, serverLines } from './carry-out.ts';
import { simplify } from './simplify.ts';
import { insist } from './violation.ts';
import {
  attemptKeys,
  beatMs,
  digest,
  isEnded,
  newAgent,
  sessionOptions,
  type AttemptFacts,
  type Flight,
  type JournalStatus,
  type MeantLine,
  type Report,
  type Setting,
  type StoreStatus,
  type World,
} from './world.ts';

/*
 * A world as a short row of bytes, the same for worlds that behave alike:
 * - Revisions are only compared, and only a sender's newest grows: each side's numbers are replaced by their ranks.
 * - An epoch is current or old. A copy of an old epoch and the state of an agent without a session change nothing.
 * - The two leases are interchangeable: the smaller row comes first.
 */

const stores: readonly StoreStatus[] = [
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
const journals: readonly JournalStatus[] = ['none', 'accepted', 'finished', 'dropped'];
const phases: readonly (HoldingPhase | 'none')[] = [
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
const stops: readonly (StopCause | undefined)[] = [
  undefined,
  'cancelled',
  'orphaned',
  'cut-off',
  'busy',
  'shutting-down',
];
const refusals: readonly (RefusalCause | undefined)[] = [undefined, 'stopping', 'busy', 'cancelled'];
const serverStates: readonly (ServerLeaseState | undefined)[] = [undefined, 'offered', 'accepted', 'cancelling'];
const agentStates: readonly (AgentLeaseState | undefined)[] = [undefined, 'accepted', 'refused', 'finished'];
const endings: readonly (AttemptEnding<Report>['kind'] | undefined)[] = [
  undefined,
  'reported',
  'refused',
  'lost',
  'cancelled-unoffered',
];
const agentPhases: readonly AgentState['phase'][] = ['restoring', 'opening', 'away', 'session', 'leaving', 'exited'];
const links: readonly AgentState['link'][] = ['none', 'away', 'opening', 'up'];
const entryKinds: readonly JournalEntry['kind'][] = ['accepted', 'finished', 'dropped'];

const perAttempt = 17;
const globals = 44;

/** Writes and reads worlds of one setting. Not for use by two callers at once: the buffers are shared. */
export interface Codec {
  /** How many bytes a world takes. */
  readonly size: number;
  /** Writes a world to the start of the codec's own buffer, which it returns: valid until the next call. */
  encode(world: World): Uint8Array;
  /** A new world from the bytes at `offset`. */
  decode(bytes: Uint8Array, offset: number): World;
}

/** The codec of a setting. */
export function createCodec(setting: Setting): Codec {
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
      if (write.kind === 'acceptance') return 1;
      return 1 + endings.indexOf(write.ending.kind) + (write.cancelWished ? 4 : 0);
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
    put(stops.indexOf(holding.stopped) + 6 * refusals.indexOf(holding.mustRefuse) + (holding.orphaned ? 24 : 0));
  }

  function putServerHolding(holding: ServerHolding<Report> | undefined): void {
    if (holding === undefined) {
      put(0);
      put(0);
      return;
    }
    put(
      serverStates.indexOf(holding.state) +
        (holding.sent ? 3 : 0) +
        6 * agentStates.indexOf(holding.agentState) +
        24 * endings.indexOf(holding.ending?.kind) +
        (holding.queued ? 120 : 0),
    );
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
    const over = isEnded(facts.store) && (facts.store !== 'expired' || !agent.holdings.has(text));
    const held = agent.holdings.has(text);
    // An attempt that has ended may not start, started or not; one that the agent has let go of is over however it ended.
    put(stores.indexOf(over && !held ? 'reported' : facts.store));
    put(
      (facts.journal === 'dropped' && !held ? 0 : journals.indexOf(facts.journal) * 2) +
        (facts.started && !over ? 1 : 0),
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

  /** Invariant 10: whoever could be sent a digest now, or has one on its way, holds the list that it stands for. */
  function checkLists(world: World): void {
    const { agent, server } = world;
    if (agent.phase !== 'session' || server?.phase !== 'active') return;
    if (world.toServer?.copy.list.kind === 'digest') checkSame(server.agentList, world.toServer.meant);
    if (world.toAgent?.copy.list.kind === 'digest') checkSame(agent.serverList, world.toAgent.meant);
    if (server.applied >= agent.listRevision) checkSame(server.agentList, agentLines(world));
    if (agent.applied === server.revision) checkSame(agent.serverList, serverLines(world));
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

  let source: Uint8Array = out;
  const take = (): number => source[cursor++]!;

  const endingOf = (kind: AttemptEnding<Report>['kind']): AttemptEnding<Report> => {
    if (kind === 'reported') return { kind, report: 'done' };
    if (kind === 'refused') return { kind, report: 'refused' };
    return { kind };
  };
  const writeFrom = (code: number, key: AttemptKey): ServerWrite<Report> => {
    if (code === 1) return { kind: 'acceptance', key };
    const cancelWished = code > 5;
    return { kind: 'end', key, ending: endingOf(endings[code - 1 - (cancelWished ? 4 : 0)]!), cancelWished };
  };
  const takeEntries = (bits: number, key: AttemptKey, into: JournalEntry<Report>[]): void => {
    if (bits & 1) into.push({ kind: 'accepted', key });
    if (bits & 2) into.push({ kind: 'finished', key, report: 'done' });
    if (bits & 4) into.push({ kind: 'dropped', key });
  };
  const reportOf = (state: string): Report | undefined =>
    state === 'refused' ? 'refused' : state === 'finished' || state === 'ending' ? 'done' : undefined;

  interface Lists {
    readonly toServer: MeantLine[];
    readonly toAgent: MeantLine[];
    readonly late: number[];
    readonly early: MeantLine[];
    readonly serverList: MeantLine[];
    readonly agentList: MeantLine[];
    readonly writes: ServerWrite<Report>[];
    readonly writers: ServerHolding<Report>[];
    readonly limbo: ServerWrite<Report>[];
    readonly entries: JournalEntry<Report>[];
    readonly holdings: ServerHolding<Report>[];
  }

  function takeAgentHolding(agent: AgentState<Report>, key: AttemptKey, text: string): void {
    const phase = phases[take()]!;
    const listedRevision = take();
    const offeredAfter = take();
    const code = take();
    if (phase === 'none') return;
    const holding: AgentHolding<Report> = {
      leaseId: key.leaseId,
      attempt: key.attempt,
      phase,
      cutOff: 'go-on',
      report: reportOf(phase),
      listedRevision,
      offeredAfter,
      stopped: stops[code % 6],
      mustRefuse: refusals[Math.floor(code / 6) % 4],
      orphaned: code >= 24,
    };
    agent.holdings.set(text, holding);
    if (phase === 'waiting') agent.waiting += 1;
    else if (phase !== 'dropping') agent.held += 1;
  }

  function takeServerHolding(key: AttemptKey): ServerHolding<Report> | undefined {
    const code = take();
    const listedRevision = take();
    if (code === 0) return undefined;
    const rest = code - 1;
    const ending = endings[Math.floor(rest / 24) % 5];
    return {
      leaseId: key.leaseId,
      attempt: key.attempt,
      state: serverStates[(rest % 3) + 1]!,
      absenceMsMax: 0,
      listedRevision,
      sent: Math.floor(rest / 3) % 2 === 1,
      agentState: agentStates[Math.floor(rest / 6) % 4],
      ending: ending === undefined ? undefined : endingOf(ending),
      queued: rest >= 120,
    };
  }

  const pushLine = (into: MeantLine[], key: AttemptKey, state: MeantLine['state'] | undefined): void => {
    if (state !== undefined) into.push({ leaseId: key.leaseId, attempt: key.attempt, state });
  };

  function takeAttempt(agent: AgentState<Report>, lists: Lists, index: number): AttemptFacts {
    const key = keys[index]!;
    const store = stores[take()]!;
    if (store === 'none') {
      cursor += perAttempt - 1;
      lists.late.push(0);
      return { key, store, journal: 'none', started: false };
    }
    const journalled = take();
    takeAgentHolding(agent, key, keyStrings[index]!);
    const bits = take();
    takeEntries(bits & 7, key, agent.queue);
    takeEntries(bits >> 3, key, lists.entries);
    const held = takeServerHolding(key);
    if (held !== undefined) lists.holdings.push(held);
    const writing = take();
    if (writing > 0) {
      const write = writeFrom(writing, key);
      lists.writes.push(write);
      lists.writers.push(held ?? strayHolding(key, write));
    }
    const limbo = take();
    if (limbo > 0) lists.limbo.push(writeFrom(limbo, key));
    pushLine(lists.toServer, key, agentStates[take()]);
    pushLine(lists.toAgent, key, serverStates[take()]);
    lists.late.push(take());
    pushLine(lists.early, key, agentStates[take()]);
    pushLine(lists.serverList, key, serverStates[take()]);
    pushLine(lists.agentList, key, agentStates[take()]);
    return { key, store, journal: journals[journalled >> 1]!, started: journalled % 2 === 1 };
  }

  /** Only without the guard `settle-after-persisted` does a write speak of an attempt that is not held. */
  const strayHolding = (key: AttemptKey, write: ServerWrite<Report>): ServerHolding<Report> => ({
    ...key,
    state: 'offered',
    absenceMsMax: 0,
    listedRevision: 0,
    sent: true,
    agentState: undefined,
    ending: write.kind === 'end' ? write.ending : undefined,
    queued: false,
  });

  interface Header {
    readonly mark: number;
    readonly whole: boolean;
    readonly revision: number;
    readonly acknowledged: number;
    readonly wantsWhole: boolean;
  }
  const takeHeader = (): Header | undefined => {
    const mark = take();
    const header = {
      mark,
      whole: take() === 0,
      revision: take(),
      acknowledged: take(),
      wantsWhole: take() === 1,
    };
    return mark === 0 ? undefined : header;
  };
  const head = ({ revision, acknowledged, wantsWhole }: Header, epoch: number) => ({
    sessionId: `s${epoch}`,
    epoch,
    revision,
    acknowledged,
    wantsWhole,
  });
  const toServerFlight = (header: Header, lines: readonly MeantLine[], epoch: number): Flight<AgentCopy<Report>> => ({
    copy: {
      ...head(header, epoch),
      list: header.whole
        ? {
            kind: 'whole',
            leases: lines.map(({ leaseId, attempt, state }): AgentLease<Report> => {
              const report = reportOf(state);
              const lease = { leaseId, attempt, state: state as AgentLeaseState };
              return report === undefined ? lease : { ...lease, report };
            }),
          }
        : { kind: 'digest', digest: digest(listDigestText(header.revision, lines)) },
    },
    meant: lines,
  });
  const toAgentFlight = (header: Header, lines: readonly MeantLine[], epoch: number): Flight<ServerCopy> => ({
    copy: {
      ...head(header, epoch),
      list: header.whole
        ? { kind: 'whole', leases: lines.map((line): ServerLease => ({ ...line, withWork: true }) as ServerLease) }
        : { kind: 'digest', digest: digest(listDigestText(header.revision, lines)) },
    },
    meant: lines,
  });

  function takeServer(lists: Lists): ServerState<Report> | undefined {
    const phase = take();
    if (phase === 0) {
      cursor += 16;
      return undefined;
    }
    const server = initialServerState<Report>(sessionOptions(setting, currentEpoch));
    server.phase = phase === 1 ? 'loading' : 'active';
    server.linkUp = take() === 1;
    server.revision = take();
    server.acknowledgedByAgent = take();
    server.applied = take();
    server.persisted = take();
    server.wantsWhole = take() === 1;
    server.owesWhole = take() === 1;
    server.owesAcknowledgement = take();
    if (take() === 1) server.agentList = lists.agentList;
    const writing = take() === 1;
    const covers = take();
    for (const held of lists.holdings) {
      server.holdings.set(keyString(held), held);
      if (held.queued) server.queue.push(held);
    }
    if (writing) server.writing = { writeId: 1, holdings: lists.writers, writes: lists.writes, covers };
    server.nextWriteId = 2;
    const early = takeHeader();
    if (early !== undefined) server.early = toServerFlight(early, lists.early, currentEpoch).copy;
    return server;
  }

  function takeAgent(agent: AgentState<Report>, lists: Lists): void {
    agent.phase = agentPhases[take()]!;
    agent.link = links[take()]!;
    if (agent.phase === 'session') {
      agent.epoch = currentEpoch;
      agent.sessionId = `s${currentEpoch}`;
      agent.heartbeatMs = beatMs;
      agent.sessionTimeoutMs = sessionOptions(setting, currentEpoch).sessionTimeoutMs;
    }
    agent.revision = take();
    agent.listRevision = take();
    agent.sentRevision = agent.revision;
    agent.acknowledgedByServer = take();
    agent.applied = take();
    if (take() === 1) agent.serverList = lists.serverList;
    const wants = take();
    agent.wantsWhole = (wants & 1) === 1;
    agent.owesWhole = (wants & 2) === 2;
    agent.journalling = take() === 1 ? { writeId: 1, entries: lists.entries } : undefined;
    agent.nextWriteId = 2;
    const undecided = [...agent.holdings.values()].filter(
      ({ phase }) => phase === 'waiting' || phase === 'considering' || phase === 'accepting',
    );
    undecided.sort((a, b) => a.offeredAfter - b.offeredAfter);
    for (const holding of undecided) agent.undecided.add(holding);
  }

  function decode(bytes: Uint8Array, offset: number): World {
    source = bytes;
    cursor = offset;
    const agent = newAgent(setting);
    const lists: Lists = {
      toServer: [],
      toAgent: [],
      late: [],
      early: [],
      serverList: [],
      agentList: [],
      writes: [],
      writers: [],
      limbo: [],
      entries: [],
      holdings: [],
    };
    const attempts: AttemptFacts[] = [];
    for (let index = 0; index < keys.length; index += 1) attempts.push(takeAttempt(agent, lists, index));
    const server = takeServer(lists);
    takeAgent(agent, lists);
    const toServer = takeHeader();
    const toAgent = takeHeader();
    const late = takeHeader();
    const limbo = take();
    const world: World = {
      attempts,
      storeEpoch: currentEpoch,
      server,
      limbo: limbo === 0 ? undefined : { epoch: limbo === 1 ? currentEpoch : oldEpoch, writes: lists.limbo },
      agent,
      toServer: toServer && toServerFlight(toServer, lists.toServer, currentEpoch),
      toAgent: toAgent && toAgentFlight(toAgent, lists.toAgent, currentEpoch),
      late: late && takeLate(late, lists.late),
    };
    if (!keepsLists) recallLists(world);
    return world;
  }

  /** Both memories, where they can matter: see {@link checkLists}. */
  function recallLists(world: World): void {
    const { agent, server } = world;
    if (agent.phase !== 'session' || server?.phase !== 'active') return;
    server.agentList = server.applied >= agent.listRevision ? agentLines(world) : [];
    agent.serverList = agent.applied === server.revision ? serverLines(world) : [];
  }

  function takeLate(header: Header, codes: readonly number[]): World['late'] {
    const lines: MeantLine[] = [];
    const toAgent = header.mark % 2 === 0;
    const epoch = header.mark > 2 ? oldEpoch : currentEpoch;
    const states = toAgent ? serverStates : agentStates;
    for (const [index, code] of codes.entries()) pushLine(lines, keys[index]!, states[code]);
    if (toAgent) return { to: 'agent', flight: toAgentFlight(header, lines, epoch) };
    return { to: 'server', flight: toServerFlight(header, lines, epoch) };
  }

  return { size, encode, decode };
}

/** Throws unless the receiver of a digest remembers the list that the sender means. */
function checkSame(remembered: readonly DigestLine[] | undefined, meant: readonly MeantLine[]): void {
  const same =
    remembered?.length === meant.length &&
    meant.every((line) => {
      return remembered.some(
        ({ leaseId, attempt, state }) => leaseId === line.leaseId && attempt === line.attempt && state === line.state,
      );
    });
  insist(same, 10, () => {
    return `a digest would stand for ${JSON.stringify(meant)} and be taken for ${JSON.stringify(remembered)}`;
  });
}

const currentEpoch = 2;
const oldEpoch = 1;
