import { keyString } from '../attempt-key.ts';
import { isBound, type World } from './world.ts';

/** True if nothing is outstanding between the two ends: invariant 8 says how soon this must come. */
export function inSync(world: World): boolean {
  const { agent, server } = world;
  if (agent.phase !== 'session' || agent.link !== 'up' || server?.phase !== 'active' || !server.linkUp) return false;
  if (server.options.epoch !== agent.epoch || agent.undecided.size > 0) return false;
  if (agent.journalling !== undefined || server.writing !== undefined || agent.awaiting > 0) return false;
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
