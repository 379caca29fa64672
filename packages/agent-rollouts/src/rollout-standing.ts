import type { Rollout, RolloutAgent } from './rollout.ts';
import { bundleFor, hasArrived } from './rollout-rings.ts';

/** Where an agent stands in a roll-out, for people. */
export interface RolloutStanding {
  readonly state: 'upgraded' | 'waiting' | 'draining' | 'upgrading' | 'failed' | 'aside' | 'unable';
  /** Of `failed`, `aside` and `unable`. */
  readonly reason?: { readonly code: string; readonly message: string };
}

/** Where an agent stands, and why. */
export function rolloutStanding(rollout: Rollout, agent: RolloutAgent): RolloutStanding {
  const { task, aside, online } = agent;
  const because = (state: RolloutStanding['state'], code: string, message: string): RolloutStanding => ({
    state,
    reason: { code, message },
  });
  if (task?.state === 'waiting' || task?.state === 'draining' || task?.state === 'upgrading') {
    return { state: task.state };
  }
  if (hasArrived(rollout, agent)) return { state: 'upgraded' };
  if (task?.state === 'failed') return { state: 'failed', ...(task.failure ? { reason: task.failure } : {}) };
  if (bundleFor(rollout, agent.platform) === undefined) {
    return because('unable', 'NO_BUNDLE', `there is no bundle for ${agent.platform}`);
  }
  if (!agent.upgradable) return because('unable', 'TAKES_NO_UPGRADES', 'it has no supervisor or trusts no key');
  if (!online) return because('aside', 'AGENT_OFFLINE', 'it has no session');
  if (aside !== undefined) return because('aside', `AGENT_${aside.toUpperCase()}`, `it is ${aside}`);
  return { state: 'waiting' };
}
