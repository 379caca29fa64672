import type { JournalledAttempt } from '../agent-machine.ts';
import { keyString, type AttemptKey } from '../attempt-key.ts';
import type { BoundAttempt } from '../server-machine.ts';
import { initialServerState } from '../server-state.ts';
import { breakLink, endInStore, tellAgent, tellServer, writeJournal } from './carry-out.ts';
import { insist } from './violation.ts';
import {
  isBound,
  newAgent,
  sessionOptions,
  startMs,
  type AttemptFacts,
  type Report,
  type Setting,
  type World,
} from './world.ts';

/** What the store has bound to the newest epoch. */
export const boundIn = (world: World): readonly BoundAttempt[] => {
  const bound: BoundAttempt[] = [];
  for (const { key, store } of world.attempts) if (isBound(store)) bound.push({ ...key, state: store });
  return bound;
};

/** What the agent's request for a session proves. */
function provenBy(world: World): readonly AttemptKey[] {
  return [...world.agent.holdings.values()].filter((holding) => holding.phase !== 'dropping' && !holding.orphaned);
}

/** The store makes a session: it binds what is proven to the new epoch, and ends the rest as lost. */
export function createSession(setting: Setting, world: World): void {
  if (world.server?.writing !== undefined) {
    world.limbo = { epoch: world.server.options.epoch, writes: world.server.writing.writes };
  }
  world.storeEpoch += 1;
  const proven = new Set(provenBy(world).map(keyString));
  for (const facts of world.attempts) {
    if (!isBound(facts.store)) continue;
    if (!proven.has(keyString(facts.key))) endInStore(setting, world, facts, 'lost');
    else comeBack(setting, world, facts);
  }
  world.server = initialServerState(sessionOptions(setting, world.storeEpoch));
  world.toServer = undefined;
  world.toAgent = undefined;
  // A fenced write changes nothing whenever it comes, so nobody has to wait for it.
  if (world.limbo !== undefined && !setting.guards['store-fences-writes'](world.limbo.epoch, world.storeEpoch)) {
    world.limbo = undefined;
  }
}

/** Who proves an attempt without saying that it goes down has come back with it. */
function comeBack(setting: Setting, world: World, facts: AttemptFacts): void {
  const holding = world.agent.holdings.get(keyString(facts.key));
  if (!facts.goingDown || (holding?.goingDown === true && holding.phase === 'running')) return;
  facts.isBack = true;
  if (!setting.guards['coming-back-undoes-going-down'](false)) facts.goingDown = false;
}

/** The agent reaches a server, which knows its session or does not. */
export function openLink(setting: Setting, world: World): void {
  if (world.server?.options.epoch !== world.agent.epoch) {
    return tellAgent(setting, world, { type: 'session-rejected', reason: 'unknown', nowMs: 0 });
  }
  tellServer(setting, world, { type: 'link-opened', nowMs: 0 });
  tellAgent(setting, world, { type: 'link-opened', nowMs: 0 });
}

/** The agent’s process is killed and started again: all it knows is what its journal kept. */
export function crashAgent(setting: Setting, world: World, linesKept: number): void {
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

/** The server’s process is killed: the store keeps what it has, and may still get the write in flight. */
export function crashServer(setting: Setting, world: World): void {
  const { writing, options } = world.server!;
  if (writing !== undefined) world.limbo = { epoch: options.epoch, writes: writing.writes };
  world.server = undefined;
  cutLink(setting, world);
  // The agent can only find that nobody knows its session, unless a copy of it is still to come.
  if (!setting.precise && world.late?.to !== 'agent' && world.agent.phase === 'session') openLink(setting, world);
}

/** Whatever was bound to the session is lost, whether the agent holds it or not; what may wait for the agent stays bound. */
export function expireSession(setting: Setting, world: World): void {
  for (const facts of world.attempts) {
    if (isBound(facts.store) && !mayWait(setting, facts)) endInStore(setting, world, facts, 'expired');
  }
  world.server = undefined;
}

/** True for an attempt whose lease grants its agent an absence. */
export function mayWait(setting: Setting, { store, goingDown }: AttemptFacts): boolean {
  return setting.bounds.absences > 0 && (store === 'accepted' || (isBound(store) && goingDown));
}

/** An agent without a session has stayed away for longer than it may. The model's leases say: then it is completed. */
export function endAbsence(setting: Setting, world: World, subject: number): void {
  const facts = world.attempts[subject]!;
  if (setting.guards['completed-by-absence-needs-going-down'](facts.goingDown)) {
    const { leaseId, attempt } = facts.key;
    insist(facts.goingDown && !facts.isBack, 13, () => {
      const why = facts.isBack ? 'its agent had come back' : 'nobody had said that its agent goes down';
      return `${leaseId}${attempt} ends as completed by absence, though ${why}`;
    });
  }
  endInStore(setting, world, facts, 'expired');
}

/** The time to take an offer in is over. */
export function passStartLimit(setting: Setting, world: World): void {
  const undecided = [...world.server!.holdings.values()].filter(({ ending }) => ending === undefined);
  const taken = undecided.filter(({ state, agentState }) => state !== 'offered' || agentState !== undefined);
  tellServer(setting, world, { type: 'tick', nowMs: startMs });
  for (const { leaseId, attempt, ending } of taken) {
    insist(
      ending === undefined,
      12,
      () => `${leaseId}${attempt} ends as not started, though the agent has answered it`,
    );
  }
}

/** The link breaks, and both ends notice. */
export function cutLink(setting: Setting, world: World): void {
  breakLink(setting, world);
  tellAgent(setting, world, { type: 'link-lost', nowMs: 0 });
}

/** The store binds a waiting attempt to the session that the server holds. */
export function assign(setting: Setting, world: World, subject: number): void {
  const facts = world.attempts[subject]!;
  facts.store = 'offered';
  if (world.server!.phase !== 'active') return;
  const offer = { ...facts.key, state: 'offered' as const };
  const attempt = setting.bounds.absences > 0 ? { ...offer, startMsMax: startMs } : offer;
  tellServer(setting, world, { type: 'assigned', attempts: [attempt] });
}

/** The store records that an attempt is no longer wanted. */
export function cancel(setting: Setting, world: World, subject: number): void {
  const facts = world.attempts[subject]!;
  facts.store = 'cancelling';
  tellServer(setting, world, { type: 'cancel-wished', key: facts.key });
}
