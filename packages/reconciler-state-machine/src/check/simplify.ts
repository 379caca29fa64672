import type { AgentHolding } from '../agent-state.ts';
import { keyString, type AttemptKey } from '../attempt-key.ts';
import type { AgentCopy, ServerCopy } from '../copies.ts';
import type { ServerState } from '../server-state.ts';
import type { Flight, LateFlight, Report, World } from './world.ts';

/*
 * Worlds that can only go on alike are made the same before they are compared. Every rule here says why nothing that
 * follows can tell the two apart. With a guard removed or a memory damaged the reasons fail, and the rules are not used.
 */

type Mutable<T> = { -readonly [Name in keyof T]: T[Name] };

/** True if the list behind a copy names the attempt. */
export function lists(meant: readonly AttemptKey[], key: AttemptKey): boolean {
  return meant.some(({ leaseId, attempt }) => leaseId === key.leaseId && attempt === key.attempt);
}

/** True for an attempt that the agent's copies list from now on until it is dropped. */
const decided = (holding: AgentHolding<Report> | undefined): boolean =>
  holding !== undefined &&
  (holding.phase === 'running' ||
    holding.phase === 'ending' ||
    holding.phase === 'finished' ||
    holding.phase === 'refused');

/**
 * What an acknowledgement by the agent is worth: it is evidence only about attempts that the server lists and the copy
 * does not, so it is as good as the newest revision among those.
 */
function agentAcknowledges(
  server: ServerState<Report> | undefined,
  acknowledged: number,
  meant: readonly AttemptKey[],
): number {
  let worth = 0;
  for (const holding of server?.holdings.values() ?? []) {
    const { listedRevision } = holding;
    if (listedRevision > worth && listedRevision <= acknowledged && !lists(meant, holding)) worth = listedRevision;
  }
  return worth;
}

/** What an acknowledgement by the server is worth, for the same reason. */
function serverAcknowledges(world: World, acknowledged: number, meant: readonly AttemptKey[]): number {
  let worth = 0;
  for (const holding of world.agent.holdings.values()) {
    const { listedRevision } = holding;
    // Of an orphan nothing more can be learnt.
    if (!decided(holding) || holding.orphaned || listedRevision <= worth || listedRevision > acknowledged) continue;
    // It also tells a handler that its going down is persisted.
    if (holding.awaitsTold || !lists(meant, holding)) worth = listedRevision;
  }
  return worth;
}

/** True if the copy tells the server nothing: applying a copy twice changes nothing. */
export function isNoNewsToServer(world: World, { copy, meant }: Flight<AgentCopy<Report>>): boolean {
  const { server, agent } = world;
  if (server?.phase !== 'active' || copy.wantsWhole) return false;
  // A heartbeat has a revision of its own, but the list is the one of the revision that changed it last.
  const known = agent.phase === 'session' ? Math.min(copy.revision, agent.listRevision) : copy.revision;
  return known <= server.applied && agentAcknowledges(server, copy.acknowledged, meant) === 0;
}

function isNoNewsToAgent(world: World, { copy, meant }: Flight<ServerCopy>): boolean {
  if (copy.wantsWhole) return false;
  const { agent } = world;
  return (
    copy.revision < agent.applied ||
    (copy.revision === agent.applied && serverAcknowledges(world, copy.acknowledged, meant) === 0)
  );
}

/** Makes a world the first among those that can only go on alike. Changes it. */
export function simplify(world: World): void {
  const { server, agent } = world;
  simplifyFlights(world);
  for (const holding of agent.holdings.values()) {
    // Only a handler that runs, or is about to, can be told to stop, and only once.
    if (holding.phase !== 'running' && holding.phase !== 'accepting' && holding.phase !== 'considering')
      holding.stopped = undefined;
    // What has ended has gone down, whatever was said.
    if (holding.phase !== 'running' && holding.phase !== 'ending') holding.goingDown = false;
    // The oldest offer that is not decided only bounds what is acknowledged.
    if (agent.undecided.has(holding)) holding.offeredAfter = unknownUpTo(world, holding.offeredAfter);
  }
  // Whether a list goes as a digest makes no difference as long as invariant 10 holds of every world.
  agent.acknowledgedByServer = 0;
  // A copy that is older than what was applied is gone by now, and applying the same list once more changes nothing.
  agent.applied = unknownUpTo(world, agent.applied);
  if (server === undefined) return;
  server.acknowledgedByAgent = 0;
  simplifyServer(world, server);
  if (agent.phase !== 'session' && world.late?.to !== 'server' && server.early === undefined) forgetTalk(server);
}

function simplifyFlights(world: World): void {
  if (world.toServer !== undefined) {
    // The agent can say the same at any time: a heartbeat. See `heartbeat` in actions.ts.
    if (isNoNewsToServer(world, world.toServer)) world.toServer = undefined;
    else settleAgentCopy(world, world.toServer);
  }
  if (world.toAgent !== undefined) {
    if (isNoNewsToAgent(world, world.toAgent)) world.toAgent = undefined;
    else settleServerCopy(world, world.toAgent);
  }
  const { late } = world;
  if (late === undefined) return;
  if (isIdle(world, late)) world.late = undefined;
  else if (late.to === 'server') settleAgentCopy(world, late.flight);
  else settleServerCopy(world, late.flight);
}

/** Nobody listens to a copy of an old epoch, nor to one that is no news. */
function isIdle(world: World, late: LateFlight): boolean {
  if (late.flight.copy.epoch !== world.storeEpoch) return true;
  if (late.to === 'agent') return world.agent.phase !== 'session' || isNoNewsToAgent(world, late.flight);
  return world.server === undefined || isNoNewsToServer(world, late.flight);
}

function settleAgentCopy(world: World, { copy, meant }: Flight<AgentCopy<Report>>): void {
  (copy as Mutable<AgentCopy>).acknowledged = agentAcknowledges(world.server, copy.acknowledged, meant);
}

function settleServerCopy(world: World, { copy, meant }: Flight<ServerCopy>): void {
  (copy as Mutable<ServerCopy>).acknowledged = serverAcknowledges(world, copy.acknowledged, meant);
}

/** An acknowledgement to come is evidence only about attempts that the agent does not hold now. */
function unknownUpTo(world: World, acknowledged: number): number {
  let worth = 0;
  for (const [key, { listedRevision }] of world.server?.holdings ?? []) {
    if (listedRevision > worth && listedRevision <= acknowledged && !world.agent.holdings.has(key))
      worth = listedRevision;
  }
  return worth;
}

function simplifyServer(world: World, server: ServerState<Report>): void {
  const { agent } = world;
  server.persisted = serverAcknowledges(world, server.persisted, [...server.holdings.values()]);
  if (server.writing !== undefined) {
    const owed = server.owesAcknowledgement <= server.writing.covers ? server.owesAcknowledgement : 0;
    const covers = Math.max(owed, serverAcknowledges(world, server.writing.covers, []));
    (server.writing as Mutable<typeof server.writing>).covers = covers;
  }
  for (const holding of server.holdings.values()) {
    // Nothing that the agent says of it counts any more.
    if (holding.ending?.kind === 'lost' || holding.ending?.kind === 'cancelled-unoffered')
      holding.agentState = undefined;
    // Only an offer without an answer runs out of time.
    if (holding.state !== 'offered' || holding.agentState !== undefined || holding.ending !== undefined)
      holding.startDueMs = undefined;
    if (!decided(agent.holdings.get(keyString(holding)))) continue;
    // Every copy that can still arrive lists it, so its absence is never judged.
    const flights = [world.toServer, world.late?.to === 'server' ? world.late.flight : undefined];
    const early = server.early as AgentCopy<Report> | undefined;
    const everywhere = flights.every((flight) => flight === undefined || lists(flight.meant, holding));
    const listedEarly = early === undefined || (early.list.kind === 'whole' && lists(early.list.leases, holding));
    if (everywhere && listedEarly) (holding as Mutable<typeof holding>).listedRevision = 0;
  }
}

/** The agent has left the session and nothing of it can arrive: only what is being persisted goes on. */
function forgetTalk(server: ServerState<Report>): void {
  server.revision = server.phase === 'loading' ? 0 : 1;
  server.applied = 0;
  server.persisted = 0;
  server.owesAcknowledgement = 0;
  if (server.writing !== undefined) (server.writing as Mutable<typeof server.writing>).covers = 0;
  for (const holding of server.holdings.values()) {
    holding.agentState = undefined;
    (holding as Mutable<typeof holding>).listedRevision = 0;
  }
}
