import type { AgentHolding } from '../agent-state.ts';
import { keyString } from '../attempt-key.ts';
import { persist, tellAgent, tellServer, writeJournal } from './carry-out.ts';
import { deliverToAgent, deliverToServer, oldHeartbeat } from './deliver.ts';
import {
  assign,
  boundIn,
  cancel,
  crashAgent,
  crashServer,
  createSession,
  cutLink,
  endAbsence,
  expireSession,
  mayWait,
  openLink,
  passStartLimit,
} from './sessions-and-crashes.ts';
import { isNoNewsToServer } from './simplify.ts';
import {
  beatMs,
  openedEvent,
  timeoutMs,
  type AttemptFacts,
  type Budgets,
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
  'goes-down': {
    input: true,
    says: 'the handler of the attempt says that the agent goes down',
    subjects: (setting, world) =>
      setting.bounds.absences === 0
        ? nothing
        : some(world, (facts) => inPhase('running')(facts, world) && holdingOf(world, facts)?.goingDown === false),
    apply: (setting, world, subject) =>
      tellAgent(setting, world, { type: 'going-down', key: world.attempts[subject]!.key }),
  },
  'absence-over': {
    input: true,
    says: 'the agent has stayed away with the attempt for longer than it may',
    subjects: (setting, world) =>
      world.server !== undefined || world.agent.phase === 'session'
        ? nothing
        : some(world, (facts) => mayWait(setting, facts)),
    apply: endAbsence,
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
  'start-limit': {
    costs: 'expiries',
    says: 'the time to take an offer in is over',
    subjects: (_, world) => world.server?.phase === 'active' && world.server.startDueMs !== Infinity,
    apply: passStartLimit,
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
