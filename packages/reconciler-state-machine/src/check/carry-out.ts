import type { AgentEffect, AgentEvent, JournalEntry } from '../agent-machine.ts';
import { keyString, type AttemptKey } from '../attempt-key.ts';
import type { AgentCopy, ServerCopy } from '../copies.ts';
import type { ServerEffect, ServerEvent, ServerWrite } from '../server-machine.ts';
import { stepAgent } from '../step-agent.ts';
import { stepServer } from '../step-server.ts';
import { insist } from './violation.ts';
import {
  attemptIndex,
  isEnded,
  type AttemptFacts,
  type MeantLine,
  type Report,
  type Setting,
  type World,
} from './world.ts';

const name = (key: AttemptKey): string => `${key.leaseId}${key.attempt}`;

/** The facts of an attempt. */
export function factsOf(setting: Setting, world: World, key: AttemptKey): AttemptFacts {
  return world.attempts[attemptIndex(setting.bounds, key)]!;
}

/** Whether the agent's process holds an attempt that it has not settled. */
function agentHolds(world: World, key: AttemptKey): boolean {
  const holding = world.agent.holdings.get(keyString(key));
  return holding !== undefined && holding.phase !== 'dropping';
}

/** Steps the agent and does what it asks, checking every effect against the invariants. */
export function tellAgent(setting: Setting, world: World, event: AgentEvent<Report>): void {
  const { agent } = world;
  const { effects } = stepAgent(agent, event);
  for (const effect of effects) carryOutAgent(setting, world, effect, event.type === 'restored');
  // The model has no clock: what lies in the past lies at time 0.
  agent.nowMs = 0;
  agent.lastMarkMs = 0;
  agent.lastHeardMs = 0;
  agent.answeredSentAtMs = 0;
  agent.marks = [];
  agent.cutOff = false;
  agent.backoffMs = agent.options.backoffMinMs;
  agent.retryAtMs = 0;
  // Waiting to try again and trying look the same from outside, so the model does not tell them apart.
  const away = agent.phase === 'away' || (agent.phase === 'session' && agent.link === 'away');
  if (away) tellAgent(setting, world, { type: 'tick', nowMs: 1 });
}

function carryOutAgent(setting: Setting, world: World, effect: AgentEffect<Report>, restoring: boolean): void {
  switch (effect.type) {
    case 'start':
      return checkStart(factsOf(setting, world, effect.key), restoring);
    case 'resume':
      insist(restoring, 3, () => `${name(effect.key)} is resumed by the process that accepted it`);
      return;
    case 'stop':
      if (effect.cause !== 'orphaned') return;
      insist(isEnded(factsOf(setting, world, effect.key).store), 2, () => {
        return `the agent stops ${name(effect.key)} as an orphan, though the store holds no end of it`;
      });
      return;
    case 'told-going-down': {
      const facts = factsOf(setting, world, effect.key);
      insist(facts.goingDown || isEnded(facts.store), 11, () => {
        return `${name(effect.key)} hears that its going down is persisted, and it is not`;
      });
      return;
    }
    case 'forget':
      return checkForget(factsOf(setting, world, effect.key));
    case 'close-link':
      return breakLink(setting, world);
    case 'send':
      checkAgentCopy(setting, world, effect.copy);
      world.toServer = { copy: effect.copy, meant: agentLines(world) };
      return;
    case 'open-session':
    case 'open-link':
    case 'consider':
    case 'journal':
      return;
    case 'exit':
      insist(false, 9, () => `the agent leaves (${effect.reason}) though nobody asked it to`);
  }
}

function checkStart(facts: AttemptFacts, restoring: boolean): void {
  const { key } = facts;
  insist(!restoring, 3, () => `${name(key)} was accepted by an earlier process and is started, not resumed`);
  insist(!facts.started, 1, () => `the handler of ${name(key)} starts a second time`);
  insist(facts.journal === 'accepted', 7, () => `${name(key)} starts before its acceptance is in the journal`);
  insist(
    !isEnded(facts.store) || facts.store === 'expired',
    2,
    () => `${name(key)} starts though it has ended as ${facts.store}`,
  );
  facts.started = true;
}

function checkForget(facts: AttemptFacts): void {
  const { key } = facts;
  insist(facts.journal === 'none' || facts.journal === 'dropped', 7, () => {
    return `what ${name(key)} left is removed before the journal says that it is dropped`;
  });
  insist(isEnded(facts.store), 2, () => `the agent drops ${name(key)}, which the store holds as ${facts.store}`);
}

/** The list behind the agent's copy. */
export function agentLines(world: World): readonly MeantLine[] {
  const lines: MeantLine[] = [];
  for (const { leaseId, attempt, phase, goingDown } of world.agent.holdings.values()) {
    if (phase === 'finished' || phase === 'refused') lines.push({ leaseId, attempt, state: phase });
    const state = goingDown ? 'going-down' : 'accepted';
    if (phase === 'running' || phase === 'ending') lines.push({ leaseId, attempt, state });
  }
  return lines;
}

function checkAgentCopy(setting: Setting, world: World, copy: AgentCopy<Report>): void {
  if (copy.list.kind === 'digest') return;
  for (const lease of copy.list.leases) {
    if (lease.state !== 'finished') continue;
    insist(factsOf(setting, world, lease).journal === 'finished', 7, () => {
      return `the end of ${name(lease)} is reported before it is in the journal`;
    });
  }
}

/** Steps the server's session and does what it asks, checking every effect against the invariants. */
export function tellServer(setting: Setting, world: World, event: ServerEvent<Report>): void {
  const { server } = world;
  if (server === undefined) return;
  const { effects } = stepServer(server, event);
  for (const effect of effects) carryOutServer(setting, world, effect);
  server.nowMs = 0;
  server.lastHeardMs = 0;
  server.lastSentMs = 0;
}

function carryOutServer(setting: Setting, world: World, effect: ServerEffect<Report>): void {
  switch (effect.type) {
    case 'write':
      for (const write of effect.writes) checkDecision(world, write);
      return;
    case 'settled':
      insist(isEnded(factsOf(setting, world, effect.key).store), 7, () => {
        return `the source is told of the end of ${name(effect.key)} before it is persisted`;
      });
      return;
    case 'send':
      checkServerCopy(setting, world, effect.copy);
      world.toAgent = { copy: effect.copy, meant: serverLines(world) };
      return;
    case 'end-session':
      insist(false, 9, () => `the server ends a session of a faithful agent: ${effect.message}`);
  }
}

/** The list behind the server's copy. */
export function serverLines(world: World): readonly MeantLine[] {
  const lines: MeantLine[] = [];
  for (const { leaseId, attempt, state, ending } of world.server!.holdings.values()) {
    if (ending?.kind !== 'cancelled-unoffered') lines.push({ leaseId, attempt, state });
  }
  return lines;
}

function checkDecision(world: World, write: ServerWrite<Report>): void {
  if (write.kind !== 'end') return;
  const { kind } = write.ending;
  if (kind !== 'lost' && kind !== 'cancelled-unoffered') return;
  insist(!agentHolds(world, write.key), 2, () => `${name(write.key)} ends as ${kind} while the agent holds it`);
}

function checkServerCopy(setting: Setting, world: World, copy: ServerCopy): void {
  insist(world.server!.phase === 'active', 6, () => 'the server sends a copy before it has loaded its list');
  const { agent } = world;
  if (agent.phase !== 'session' || agent.epoch !== copy.epoch) return;
  for (const holding of agent.holdings.values()) {
    if (holding.listedRevision === 0 || holding.listedRevision > copy.acknowledged) continue;
    const { store, goingDown } = factsOf(setting, world, holding);
    const isLive = holding.phase === 'running' || holding.phase === 'ending';
    const saidAll = store !== 'offered' && (goingDown || !holding.goingDown || isEnded(store));
    const persisted = isLive ? saidAll : isEnded(store);
    insist(persisted || holding.phase === 'dropping', 7, () => {
      return `revision ${copy.acknowledged} is acknowledged while the store holds ${name(holding)} as ${store}`;
    });
  }
}

/** The link is gone for both ends, and so is what was on it. */
export function breakLink(setting: Setting, world: World): void {
  world.toServer = undefined;
  world.toAgent = undefined;
  if (world.server?.linkUp === true) tellServer(setting, world, { type: 'link-lost', nowMs: 0 });
}

/** What the store does with a write: nothing if its epoch is old. */
export function persist(
  setting: Setting,
  world: World,
  epoch: number,
  writes: readonly ServerWrite<Report>[],
): 'persisted' | 'fenced' {
  if (!setting.guards['store-fences-writes'](epoch, world.storeEpoch)) return 'fenced';
  for (const write of writes) {
    const facts = factsOf(setting, world, write.key);
    // What an absence has ended is bound to nobody: the store changes nothing, as for an old epoch.
    if (facts.store === 'expired' && world.server === undefined) continue;
    insist(!isEnded(facts.store), 4, () => {
      const what = write.kind === 'end' ? write.ending.kind : 'accepted';
      return `${name(write.key)} has ended as ${facts.store} and is written again as ${what}`;
    });
    if (write.kind === 'end') endInStore(setting, world, facts, write.ending.kind);
    else {
      if (facts.store === 'offered') facts.store = 'accepted';
      if (write.goingDown) facts.goingDown = true;
      if (write.goingDown) facts.isBack = false;
    }
  }
  return 'persisted';
}

/** Ends an attempt; one that was lost and is still wanted gets a successor, within the bound. */
export function endInStore(
  setting: Setting,
  world: World,
  facts: AttemptFacts,
  how: 'reported' | 'refused' | 'lost' | 'expired' | 'cancelled-unoffered' | 'not-started',
): void {
  const wanted = facts.store !== 'cancelling';
  // Both end it whatever the agent makes of it.
  const ending = how === 'not-started' ? 'expired' : how;
  facts.store = ending;
  if ((ending !== 'lost' && ending !== 'expired') || !wanted || facts.key.attempt >= setting.bounds.attempts) return;
  factsOf(setting, world, { leaseId: facts.key.leaseId, attempt: facts.key.attempt + 1 }).store = 'waiting';
}

/** What a journal line leaves on the agent's disk. */
export function writeJournal(setting: Setting, world: World, entries: readonly JournalEntry<Report>[]): void {
  for (const entry of entries) {
    const facts = factsOf(setting, world, entry.key);
    const kept = facts.journal !== 'finished' || facts.store === 'reported' || facts.store === 'expired';
    insist(entry.kind !== 'dropped' || kept, 5, () => {
      return `the result of ${name(entry.key)} is dropped though the store holds it as ${facts.store}`;
    });
    facts.journal = entry.kind;
  }
}
