import { createHash } from 'node:crypto';
import type { Rollout, RolloutAgent, RolloutBundle } from './rollout.ts';

/** Where an agent stands in the order of all agents: at least 0, below 100, always the same for the same id. */
export function rolloutPercentile(agentId: string): number {
  return (createHash('sha256').update(`drover rollout ${agentId}`).digest().readUInt32BE() / 2 ** 32) * 100;
}

/** The bundle for an agent; undefined if there is none for its platform. */
export function bundleFor(rollout: Pick<Rollout, 'bundles'>, platform: string): RolloutBundle | undefined {
  const { bundles } = rollout;
  return bundles.find((bundle) => bundle.platform === platform) ?? bundles.find((bundle) => bundle.platform === 'any');
}

/** True if the agent runs what it is to run. */
export function hasArrived(rollout: Pick<Rollout, 'bundles'>, agent: RolloutAgent): boolean {
  return agent.bundle !== undefined && agent.bundle === bundleFor(rollout, agent.platform)?.hash;
}

/**
 * Numbers of the rings that agents belong to, by agent id: the first one whose percentage is above the agent's percentile. A
 * small fleet may have nobody below the first percentage: of those that can be upgraded, the agent with the lowest percentile
 * belongs to the first ring in any case, so that no build reaches everybody untried. One that the roll-out has come to stands
 * for the rest also when it is away: its place goes to nobody else, or a build that takes agents down would walk through all.
 */
export function ringsOf(rollout: Rollout, agents: readonly RolloutAgent[]): ReadonlyMap<string, number> {
  const rings = new Map<string, number>();
  let first: { readonly agentId: string; readonly percentile: number } | undefined;
  for (const agent of agents) {
    const { agentId } = agent;
    const percentile = rolloutPercentile(agentId);
    const ring = rollout.rings.findIndex((percent) => percentile < percent);
    rings.set(agentId, ring < 0 ? rollout.rings.length - 1 : ring);
    if (!canTake(rollout, agent) && !wasReached(agent)) continue;
    if (first === undefined || percentile < first.percentile) first = { agentId, percentile };
  }
  if (first !== undefined) rings.set(first.agentId, 0);
  return rings;
}

/** True for an agent that the roll-out has come to, and with which it has not been taken back. */
function wasReached({ task }: RolloutAgent): boolean {
  return task !== undefined && task.state !== 'withdrawn';
}

/** True for an agent that has a session and what it takes. */
export function canTake(rollout: Rollout, agent: RolloutAgent): boolean {
  return agent.online && agent.upgradable && bundleFor(rollout, agent.platform) !== undefined;
}
