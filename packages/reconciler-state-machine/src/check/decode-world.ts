import type { JournalEntry } from '../agent-machine.ts';
import type { AgentHolding, AgentState } from '../agent-state.ts';
import { keyString, type AttemptKey } from '../attempt-key.ts';
import type { AgentCopy, AgentLease, AgentLeaseState, ServerCopy, ServerLease } from '../copies.ts';
import { listDigestText } from '../list-digest.ts';
import type { AttemptEnding, ServerWrite } from '../server-machine.ts';
import { initialServerState, type ServerHolding, type ServerState } from '../server-state.ts';
import { agentLines, serverLines } from './carry-out.ts';
import {
  agentPhases,
  agentStates,
  currentEpoch,
  endings,
  journals,
  links,
  oldEpoch,
  perAttempt,
  phases,
  refusals,
  serverStates,
  stops,
  stores,
} from './world-codes.ts';
import {
  attemptKeys,
  beatMs,
  digest,
  newAgent,
  sessionOptions,
  startMs,
  type AttemptFacts,
  type Flight,
  type MeantLine,
  type Report,
  type Setting,
  type World,
} from './world.ts';

/** Reads the world at an offset of some bytes, as often as asked: every call makes a new one. */
export type Decoder = (bytes: Uint8Array, offset: number) => World;

/** The decoder of a setting. */
export function createDecoder(setting: Setting): Decoder {
  const keys = attemptKeys(setting.bounds);
  const keyStrings = keys.map(keyString);
  let source: Uint8Array = new Uint8Array();
  let cursor = 0;
  const take = (): number => source[cursor++]!;

  const endingOf = (kind: AttemptEnding<Report>['kind']): AttemptEnding<Report> => {
    if (kind === 'reported') return { kind, report: 'done' };
    if (kind === 'refused') return { kind, report: 'refused' };
    return { kind };
  };
  const writeFrom = (code: number, key: AttemptKey): ServerWrite<Report> => {
    if (code === 1) return { kind: 'acceptance', key };
    if (code === 12) return { kind: 'acceptance', key, goingDown: true };
    const cancelWished = code > 6;
    return { kind: 'end', key, ending: endingOf(endings[code - 1 - (cancelWished ? 5 : 0)]!), cancelWished };
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
      orphaned: Math.floor(code / 24) % 2 === 1,
      goingDown: Math.floor(code / 48) % 2 === 1,
      awaitsTold: code >= 96,
    };
    if (holding.awaitsTold) agent.awaiting += 1;
    agent.holdings.set(text, holding);
    if (phase === 'waiting') agent.waiting += 1;
    else if (phase !== 'dropping') agent.held += 1;
  }

  function takeServerHolding(key: AttemptKey): ServerHolding<Report> | undefined {
    const code = take();
    const marks = take();
    const listedRevision = take();
    if (code === 0) return undefined;
    const rest = code - 1;
    const ending = endings[Math.floor(rest / 30)];
    return {
      leaseId: key.leaseId,
      attempt: key.attempt,
      state: serverStates[(rest % 3) + 1]!,
      startDueMs: (marks & 4) === 0 ? undefined : startMs,
      goingDown: (marks & 2) !== 0,
      listedRevision,
      sent: Math.floor(rest / 3) % 2 === 1,
      agentState: agentStates[Math.floor(rest / 6) % 5],
      ending: ending === undefined ? undefined : endingOf(ending),
      queued: (marks & 1) !== 0,
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
      return { key, store, journal: 'none', started: false, goingDown: false, isBack: false };
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
    return {
      key,
      store,
      journal: journals[(journalled >> 1) & 3]!,
      started: journalled % 2 === 1,
      goingDown: (journalled & 8) !== 0,
      isBack: (journalled & 16) !== 0,
    };
  }

  /** Only without the guard `settle-after-persisted` does a write speak of an attempt that is not held. */
  const strayHolding = (key: AttemptKey, write: ServerWrite<Report>): ServerHolding<Report> => ({
    ...key,
    state: 'offered',
    startDueMs: undefined,
    goingDown: false,
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
      if (held.startDueMs !== undefined) server.startDueMs = startMs;
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
    if (!setting.precise) recallLists(world);
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

  return decode;
}
