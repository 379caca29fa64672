import type { JournalledAttempt } from '../agent-machine.ts';
import { keyString, type AttemptKey } from '../attempt-key.ts';
import type { BoundAttempt } from '../server-machine.ts';
import { initialServerState } from '../server-state.ts';
import { breakLink, endInStore, tellAgent, tellServer, writeJournal } from './carry-out.ts';
import { isBound, newAgent, sessionOptions, type Report, type Setting, type World } from './world.ts';

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

/** Whatever was bound to the session is lost, whether the agent holds it or not. */
export function expireSession(setting: Setting, world: World): void {
  for (const facts of world.attempts) if (isBound(facts.store)) endInStore(setting, world, facts, 'expired');
  world.server = undefined;
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
  tellServer(setting, world, { type: 'assigned', attempts: [{ ...facts.key, state: 'offered' }] });
}

/** The store records that an attempt is no longer wanted. */
export function cancel(setting: Setting, world: World, subject: number): void {
  const facts = world.attempts[subject]!;
  facts.store = 'cancelling';
  tellServer(setting, world, { type: 'cancel-wished', key: facts.key });
}
