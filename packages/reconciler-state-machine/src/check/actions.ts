import type { JournalledAttempt } from '../agent-machine.ts';
import type { AgentHolding } from '../agent-state.ts';
import { keyString, type AttemptKey } from '../attempt-key.ts';
import type { AgentLease } from '../copies.ts';
import type { BoundAttempt } from '../server-machine.ts';
import { initialServerState } from '../server-state.ts';
import { isNoNewsToServer, lists } from './simplify.ts';
import { breakLink, endInStore, persist, tellAgent, tellServer, writeJournal } from './carry-out.ts';
import { insist } from './violation.ts';
import {
  beatMs,
  isBound,
  newAgent,
  openedEvent,
  sessionOptions,
  timeoutMs,
  type AttemptFacts,
  type Budgets,
  type Flight,
  type Report,
  type Setting,
  type World,
} from './world.ts';

/**
 * Everything that can happen next, in the order in which the fault-free scheduler prefers it. `subject` says of what:
 * an attempt's index, how many journal lines survive a crash, nothing. `costs` names the budget that it spends.
 */
interface ActionRow {
  readonly costs?: keyof Budgets;
  /** True if it is an input or a disturbance: the fault-free scheduler never does it. */
  readonly input?: boolean;
  readonly says: string;
  readonly subjects: (setting: Setting, world: World) => readonly number[] | boolean;
  readonly apply: (setting: Setting, world: World, subject: number) => void;
}

const some = (world: World, test: (facts: AttemptFacts, world: World) => boolean): readonly number[] => {
  let found: number[] | undefined;
  for (const [index, facts] of world.attempts.entries()) {
    if (test(facts, world)) (found ??= []).push(index);
  }
  return found ?? nothing;
};
const nothing: readonly number[] = [];

const holdingOf = (world: World, facts: AttemptFacts): AgentHolding<Report> | undefined =>
  world.agent.holdings.get(keyString(facts.key));

const inPhase =
  (phase: AgentHolding['phase']) =>
  (facts: AttemptFacts, world: World): boolean =>
    holdingOf(world, facts)?.phase === phase;

const boundIn = (world: World): readonly BoundAttempt[] => {
  const bound: BoundAttempt[] = [];
  for (const { key, store } of world.attempts) if (isBound(store)) bound.push({ ...key, state: store });
  return bound;
};

/** What the agent's request for a session proves. */
function provenBy(world: World): readonly AttemptKey[] {
  return [...world.agent.holdings.values()].filter((holding) => holding.phase !== 'dropping' && !holding.orphaned);
}

/** The store makes a session: it binds what is proven to the new epoch, and ends the rest as lost. */
function createSession(setting: Setting, world: World): void {
  if (world.server?.writing !== undefined) {
    world.limbo = { epoch: world.server.options.epoch, writes: world.server.writing.writes };
  }
  world.storeEpoch += 1;
  const proven = new Set(provenBy(world).map(keyString));
  for (const facts of world.attempts) {
    if (isBound(facts.store) && !proven.has(keyString(facts.key))) endInStore(setting, world, facts, 'lost');
  }
  world.server = initialServerState(sessionOptions(setting, world.storeEpoch));
  world.toServer = undefined;
  world.toAgent = undefined;
  // A fenced write changes nothing whenever it comes, so nobody has to wait for it.
  if (world.limbo !== undefined && !setting.guards['store-fences-writes'](world.limbo.epoch, world.storeEpoch)) {
    world.limbo = undefined;
  }
}

function openLink(setting: Setting, world: World): void {
  if (world.server?.options.epoch !== world.agent.epoch) {
    return tellAgent(setting, world, { type: 'session-rejected', reason: 'unknown', nowMs: 0 });
  }
  tellServer(setting, world, { type: 'link-opened', nowMs: 0 });
  tellAgent(setting, world, { type: 'link-opened', nowMs: 0 });
}

function crashAgent(setting: Setting, world: World, linesKept: number): void {
  const lines = world.agent.journalling?.entries ?? [];
  writeJournal(setting, world, lines.slice(0, linesKept));
  breakLink(setting, world);
  world.agent = newAgent(setting);
  const attempts: JournalledAttempt<Report>[] = [];
  for (const facts of world.attempts) {
    const { key, journal } = facts;
    // It may have run: from here on a start of it is wrong whether it had come to one or not.
    if (journal === 'accepted') facts.started = true;
    if (journal === 'accepted') attempts.push({ ...key, state: 'accepted', cutOff: 'go-on' });
    if (journal === 'finished') attempts.push({ ...key, state: 'finished', report: 'done', cutOff: 'go-on' });
  }
  tellAgent(setting, world, { type: 'restored', attempts, nowMs: 0 });
}

function crashServer(setting: Setting, world: World): void {
  const { writing, options } = world.server!;
  if (writing !== undefined) world.limbo = { epoch: options.epoch, writes: writing.writes };
  world.server = undefined;
  cutLink(setting, world);
  // The agent can only find that nobody knows its session, unless a copy of it is still to come.
  if (!setting.precise && world.late?.to !== 'agent' && world.agent.phase === 'session') openLink(setting, world);
}

/** Whatever was bound to the session is lost, whether the agent holds it or not. */
function expireSession(setting: Setting, world: World): void {
  for (const facts of world.attempts) if (isBound(facts.store)) endInStore(setting, world, facts, 'expired');
  world.server = undefined;
}

function cutLink(setting: Setting, world: World): void {
  breakLink(setting, world);
  tellAgent(setting, world, { type: 'link-lost', nowMs: 0 });
}

/** At `beatMs` the server has been silent for long and answers; an answer can still be late or lost. */
function deliverToServer(setting: Setting, world: World, flight: NonNullable<World['toServer']>, nowMs: number): void {
  const { server } = world;
  if (server === undefined) return;
  const { copy, meant } = flight;
  const undecided = [...server.holdings.values()].filter(({ ending }) => ending === undefined);
  tellServer(setting, world, { type: 'copy-received', copy, nowMs });
  for (const holding of undecided) {
    if ((holding.ending as { kind: string } | undefined)?.kind !== 'lost') continue;
    const evident =
      copy.epoch === server.options.epoch && copy.acknowledged >= holding.listedRevision && !lists(meant, holding);
    insist(evident, 2, () => `${holding.leaseId}${holding.attempt} is lost by a copy that is no evidence of it`);
  }
  checkResolved(flight, server.options.epoch, server.applied, server.wantsWhole, server.agentList);
}

/** Copies without news are not kept in a world, but one may arrive after the agent's list has changed. */
function oldHeartbeat(setting: Setting, world: World): void {
  const { agentList, options, applied, holdings } = world.server!;
  const leases: AgentLease<Report>[] = [];
  for (const { leaseId, attempt, agentState } of holdings.values()) {
    if (agentState !== undefined) leases.push({ leaseId, attempt, state: agentState });
  }
  const { sessionId, epoch } = options;
  const header = { sessionId, epoch, revision: applied, acknowledged: 0, wantsWhole: false };
  tellServer(setting, world, {
    type: 'copy-received',
    copy: { ...header, list: { kind: 'whole', leases } },
    nowMs: beatMs,
  });
  // What it says of attempts that are settled does not matter here; what the server remembers of them does.
  world.server!.agentList = agentList;
}

function deliverToAgent(setting: Setting, world: World, { copy, meant }: NonNullable<World['toAgent']>): void {
  const { agent } = world;
  const { epoch } = agent;
  const kept = [...agent.holdings.values()]
    .filter((holding) => holding.listedRevision > 0 && holding.phase !== 'dropping' && !holding.orphaned)
    .map((holding) => ({ holding, listedRevision: holding.listedRevision }));
  tellAgent(setting, world, { type: 'copy-received', copy, nowMs: 0 });
  for (const { holding, listedRevision } of kept) {
    if (holding.phase !== 'dropping' && !holding.orphaned) continue;
    const evident = copy.epoch === epoch && copy.acknowledged >= listedRevision && !lists(meant, holding);
    insist(evident, 2, () => `${holding.leaseId}${holding.attempt} is let go by a copy that is no evidence against it`);
  }
  if (agent.phase !== 'session') return;
  checkResolved({ copy, meant }, agent.epoch, agent.applied, agent.wantsWhole, agent.serverList);
}

/** A digest that was applied stood for the list that the receiver remembers. */
function checkResolved(
  { copy, meant }: Flight<NonNullable<World['toServer']>['copy'] | NonNullable<World['toAgent']>['copy']>,
  epoch: number,
  applied: number,
  wantsWhole: boolean,
  remembered: readonly (AttemptKey & { readonly state: string })[] | undefined,
): void {
  if (copy.list.kind !== 'digest' || copy.epoch !== epoch || copy.revision !== applied || wantsWhole) return;
  const same = remembered?.length === meant.length;
  insist(same, 10, () => `a digest of ${meant.length} attempts is taken for a list of ${remembered?.length ?? 'no'}`);
}

function assign(setting: Setting, world: World, subject: number): void {
  const facts = world.attempts[subject]!;
  facts.store = 'offered';
  if (world.server!.phase !== 'active') return;
  tellServer(setting, world, { type: 'assigned', attempts: [{ ...facts.key, state: 'offered' }] });
}

function cancel(setting: Setting, world: World, subject: number): void {
  const facts = world.attempts[subject]!;
  facts.store = 'cancelling';
  tellServer(setting, world, { type: 'cancel-wished', key: facts.key });
}

const linkIsUp = (world: World): boolean => world.agent.phase === 'session' && world.agent.link === 'up';

const rows = {
  'limbo-lands': {
    // It need not: a session that is created before makes it fenced.
    says: 'a write of the server that is gone reaches the store',
    subjects: (_, world) => world.limbo !== undefined,
    apply: (setting, world) => {
      const { epoch, writes } = world.limbo!;
      world.limbo = undefined;
      persist(setting, world, epoch, writes);
    },
  },
  'late-arrives': {
    says: 'the copy that was kept back arrives',
    subjects: (_, world) => world.late !== undefined && (world.late.to === 'agent' || world.server !== undefined),
    apply: (setting, world) => {
      const late = world.late!;
      world.late = undefined;
      if (late.to === 'server') deliverToServer(setting, world, late.flight, 0);
      else deliverToAgent(setting, world, late.flight);
    },
  },
  loaded: {
    says: 'the server has loaded the attempts of the session',
    subjects: (_, world) => world.server?.phase === 'loading',
    apply: (setting, world) => tellServer(setting, world, { type: 'loaded', attempts: boundIn(world), nowMs: 0 }),
  },
  written: {
    says: 'the store has persisted the server’s write',
    subjects: (_, world) => world.server?.writing !== undefined,
    apply: (setting, world) => {
      const { writing, options } = world.server!;
      const result = persist(setting, world, options.epoch, writing!.writes);
      tellServer(setting, world, { type: 'written', writeId: writing!.writeId, result });
    },
  },
  journalled: {
    says: 'the journal has the agent’s lines',
    subjects: (_, world) => world.agent.journalling !== undefined,
    apply: (setting, world) => {
      const { entries, writeId } = world.agent.journalling!;
      writeJournal(setting, world, entries);
      tellAgent(setting, world, { type: 'journalled', writeId });
    },
  },
  accept: {
    says: 'the agent takes the attempt',
    subjects: (_, world) =>
      some(world, (facts) => {
        const holding = holdingOf(world, facts);
        return holding?.phase === 'considering' && holding.mustRefuse === undefined;
      }),
    apply: (setting, world, subject) =>
      tellAgent(setting, world, { type: 'considered', key: world.attempts[subject]!.key, cutOff: 'go-on' }),
  },
  'refuse-as-told': {
    says: 'the agent refuses the attempt, as it must',
    subjects: (_, world) =>
      some(world, (facts) => holdingOf(world, facts)?.mustRefuse !== undefined && inPhase('considering')(facts, world)),
    apply: (setting, world, subject) =>
      tellAgent(setting, world, { type: 'considered', key: world.attempts[subject]!.key, refusal: 'refused' }),
  },
  'open-session': {
    says: 'the server opens a session and the agent hears of it',
    subjects: (_, world) => world.agent.phase === 'opening',
    apply: (setting, world) => {
      createSession(setting, world);
      tellAgent(setting, world, openedEvent(world.storeEpoch));
    },
  },
  'open-link': {
    says: 'the agent’s link is open',
    subjects: (_, world) => world.agent.phase === 'session' && world.agent.link === 'opening',
    apply: openLink,
  },
  'copy-to-agent': {
    says: 'the server’s copy arrives',
    subjects: (_, world) => world.toAgent !== undefined,
    apply: (setting, world) => {
      const flight = world.toAgent!;
      world.toAgent = undefined;
      deliverToAgent(setting, world, flight);
    },
  },
  'copy-to-server': {
    says: 'the agent’s copy arrives',
    subjects: (_, world) => world.toServer !== undefined,
    apply: (setting, world) => {
      const flight = world.toServer!;
      world.toServer = undefined;
      deliverToServer(setting, world, flight, beatMs);
    },
  },
  heartbeat: {
    says: 'it is time for the agent to say something',
    subjects: (_, world) => linkIsUp(world) && world.toServer === undefined,
    apply: (setting, world) => {
      tellAgent(setting, world, { type: 'tick', nowMs: beatMs });
      // A heartbeat without news can be taken to have left just before it arrives.
      const flight = world.toServer;
      if (setting.precise || flight === undefined || !isNoNewsToServer(world, flight)) return;
      world.toServer = undefined;
      deliverToServer(setting, world, flight, beatMs);
    },
  },
  'old-heartbeat': {
    input: true,
    says: 'a heartbeat that left earlier, and is no news, arrives',
    subjects: (setting, world) =>
      !setting.precise && linkIsUp(world) && world.server?.phase === 'active' && world.server.applied > 0,
    apply: oldHeartbeat,
  },
  assign: {
    input: true,
    says: 'the store binds the attempt to the session',
    subjects: (_, world) => (world.server === undefined ? nothing : some(world, ({ store }) => store === 'waiting')),
    apply: assign,
  },
  'handler-ends': {
    input: true,
    says: 'the handler of the attempt returns',
    subjects: (_, world) => some(world, inPhase('running')),
    apply: (setting, world, subject) =>
      tellAgent(setting, world, { type: 'handler-ended', key: world.attempts[subject]!.key, report: 'done' }),
  },
  refuse: {
    costs: 'refusals',
    says: 'the agent refuses the attempt',
    subjects: (_, world) => some(world, inPhase('considering')),
    apply: (setting, world, subject) =>
      tellAgent(setting, world, { type: 'considered', key: world.attempts[subject]!.key, refusal: 'refused' }),
  },
  cancel: {
    costs: 'cancels',
    says: 'somebody no longer wants the attempt',
    subjects: (_, world) => some(world, ({ store }) => store === 'offered' || store === 'accepted'),
    apply: cancel,
  },
  'lose-to-server': {
    costs: 'losses',
    says: 'the agent’s copy is lost',
    subjects: (_, world) => world.toServer !== undefined,
    apply: (_, world) => {
      world.toServer = undefined;
    },
  },
  'lose-to-agent': {
    costs: 'losses',
    says: 'the server’s copy is lost',
    subjects: (_, world) => world.toAgent !== undefined,
    apply: (_, world) => {
      world.toAgent = undefined;
    },
  },
  'lose-open-answer': {
    costs: 'losses',
    says: 'the server opens a session and its answer is lost',
    subjects: (_, world) => world.agent.phase === 'opening',
    apply: (setting, world) => {
      createSession(setting, world);
      tellAgent(setting, world, { type: 'session-failed', nowMs: 0 });
    },
  },
  'repeat-to-server': {
    costs: 'repeats',
    says: 'the channel keeps a second one of the agent’s copy',
    subjects: (_, world) => world.toServer !== undefined && world.late === undefined,
    apply: (_, world) => {
      world.late = { to: 'server', flight: world.toServer! };
    },
  },
  'repeat-to-agent': {
    costs: 'repeats',
    says: 'the channel keeps a second one of the server’s copy',
    subjects: (_, world) => world.toAgent !== undefined && world.late === undefined,
    apply: (_, world) => {
      world.late = { to: 'agent', flight: world.toAgent! };
    },
  },
  cut: {
    costs: 'cuts',
    says: 'the link breaks',
    subjects: (_, world) => linkIsUp(world),
    apply: cutLink,
  },
  'crash-agent': {
    costs: 'agentCrashes',
    says: 'the agent’s process is killed and started again; so many lines of its last journal write are on disk:',
    subjects: (_, world) =>
      Array.from({ length: (world.agent.journalling?.entries.length ?? 0) + 1 }, (_unused, n) => n),
    apply: crashAgent,
  },
  'crash-server': {
    costs: 'serverCrashes',
    says: 'the server’s process is killed and started again',
    subjects: (_, world) => world.server !== undefined,
    apply: crashServer,
  },
  'time-out': {
    costs: 'timeouts',
    says: 'the agent counts the session as timed out',
    subjects: (_, world) => world.agent.phase === 'session',
    apply: (setting, world) => tellAgent(setting, world, { type: 'tick', nowMs: timeoutMs }),
  },
  expire: {
    costs: 'expiries',
    says: 'the server expires the session',
    subjects: (_, world) => world.server !== undefined && world.agent.phase !== 'session',
    apply: expireSession,
  },
  'damage-server': {
    costs: 'damages',
    says: 'the server’s memory of the agent’s list loses its lines',
    subjects: (_, world) => (world.server?.agentList?.length ?? 0) > 0,
    apply: (_, world) => {
      world.server!.agentList = [];
    },
  },
  'damage-agent': {
    costs: 'damages',
    says: 'the agent’s memory of the server’s list loses its lines',
    subjects: (_, world) => (world.agent.serverList?.length ?? 0) > 0,
    apply: (_, world) => {
      world.agent.serverList = [];
    },
  },
} as const satisfies Record<string, ActionRow>;

/** The name of something that can happen. */
export type ActionName = keyof typeof rows;

/** All of them, in the scheduler's order. */
export const actionNames = Object.keys(rows) as readonly ActionName[];

const table: readonly ActionRow[] = Object.values(rows);

/** Something that can happen: the row and what it happens to, packed into one number. */
export type Action = number;

const subjectsMax = 16;

const rowsByCost = new Map<keyof Budgets | undefined, number[]>();
for (const [index, { costs }] of table.entries()) {
  rowsByCost.set(costs, [...(rowsByCost.get(costs) ?? []), index]);
}

/** The action of a name, when its subject is nothing. */
export function actionNamed(name: ActionName): Action {
  return actionNames.indexOf(name) * subjectsMax;
}

/** Appends to `into` everything that can happen next and spends the given budget; undefined for none. */
export function listActions(setting: Setting, world: World, costs: keyof Budgets | undefined, into: Action[]): void {
  for (const index of rowsByCost.get(costs) ?? nothing) {
    const subjects = table[index]!.subjects(setting, world);
    if (subjects === true) into.push(index * subjectsMax);
    else if (subjects !== false) for (const subject of subjects) into.push(index * subjectsMax + subject);
  }
}

/** True if the fault-free scheduler may choose it. */
export function isScheduled(action: Action): boolean {
  const row = table[Math.floor(action / subjectsMax)]!;
  return row.costs === undefined && row.input !== true;
}

/** True if it has delivered a copy of the agent: what the bound on exchanges counts. */
export function isExchange(action: Action, next: World): boolean {
  const name = actionNames[Math.floor(action / subjectsMax)];
  return name === 'copy-to-server' || (name === 'heartbeat' && next.toServer === undefined);
}

/** Lets it happen. Throws a Violation if an invariant breaks. */
export function applyAction(setting: Setting, world: World, action: Action): void {
  table[Math.floor(action / subjectsMax)]!.apply(setting, world, action % subjectsMax);
}

/** The action as a sentence. */
export function actionText(setting: Setting, world: World, action: Action): string {
  const row = table[Math.floor(action / subjectsMax)]!;
  const subject = action % subjectsMax;
  if (row.costs === 'agentCrashes') return `${row.says} ${subject}`;
  const about = Array.isArray(row.subjects(setting, world)) ? ` (${keyText(world, subject)})` : '';
  return row.says + about;
}

function keyText(world: World, subject: number): string {
  const { leaseId, attempt } = world.attempts[subject]!.key;
  return `${leaseId}${attempt}`;
}

/** True if nothing is outstanding between the two ends: invariant 8 says how soon this must come. */
export function inSync(world: World): boolean {
  const { agent, server } = world;
  if (agent.phase !== 'session' || agent.link !== 'up' || server?.phase !== 'active' || !server.linkUp) return false;
  if (server.options.epoch !== agent.epoch || agent.undecided.size > 0) return false;
  if (agent.journalling !== undefined || server.writing !== undefined) return false;
  for (const holding of server.holdings.values()) {
    if (holding.agentState === undefined) return false;
    const held = agent.holdings.get(keyString(holding));
    if (
      held === undefined ||
      (holding.state === 'cancelling' && held.phase === 'running' && held.stopped === undefined)
    ) {
      return false;
    }
  }
  for (const [key, holding] of agent.holdings) {
    if (holding.phase !== 'running') return false;
    if (!server.holdings.has(key) && !holding.orphaned) return false;
  }
  return world.attempts.every(({ store, key }) => !isBound(store) || server.holdings.has(keyString(key)));
}
