import type { Rollout, RolloutAgent } from './rollout.ts';
import { canTake, hasArrived, ringsOf } from './rollout-rings.ts';

/** What is to be done about a roll-out now. */
export interface RolloutDecision {
  /** Agents to upgrade, by id, in the order of their rings. */
  readonly upgrade: readonly string[];
  /** Agents whose upgrade is no longer wanted where it has not begun. */
  readonly withdraw: readonly string[];
  /** Absent: it stays as it is. */
  readonly change?:
    | { readonly kind: 'halt'; readonly reason: { readonly code: string; readonly message: string } }
    /** Every agent of the ring is upgraded: from now on it soaks. */
    | { readonly kind: 'ring-done' }
    | { readonly kind: 'next-ring' }
    | { readonly kind: 'complete' };
}

const nothing: RolloutDecision = { upgrade: [], withdraw: [] };

/**
 * Decides from the whole present state. A failed upgrade halts a rolling roll-out before anything else. A ring is done when
 * every agent of it and of the rings before that can be upgraded has been, and at least one has: who is offline, or set aside, is
 * not waited for and follows when it is back. Before the next ring begins, at least half of those that were upgraded must be
 * online: a build that comes to grief after it reported healthy goes no further.
 */
export function decideRollout(rollout: Rollout, agents: readonly RolloutAgent[]): RolloutDecision {
  // Those under way are left to their end: each machine goes back by itself.
  const notBegun = agents.filter(({ task }) => task?.state === 'waiting' || task?.state === 'draining');
  if (rollout.state === 'halted') return { ...nothing, withdraw: notBegun.map(({ agentId }) => agentId) };
  const failed = agents.filter(({ task }) => task?.state === 'failed');
  if (rollout.state === 'rolling' && failed[0]) {
    const { agentId, task } = failed[0];
    const { code, message } = task?.failure ?? { code: 'UPGRADE_FAILED', message: 'it does not say why' };
    return {
      upgrade: [],
      withdraw: notBegun.map((agent) => agent.agentId),
      change: { kind: 'halt', reason: { code, message: `agent ${agentId}: ${message}` } },
    };
  }
  const rings = ringsOf(rollout, agents);
  const last = rollout.state === 'complete' ? rollout.rings.length - 1 : rollout.ring;
  const reached = agents.filter(({ agentId }) => rings.get(agentId)! <= last);
  const due = reached.filter((agent) => canTake(rollout, agent) && !hasArrived(rollout, agent));
  const upgrade = due
    .filter(({ task, aside }) => !isLive(task) && task?.state !== 'failed' && aside === undefined)
    .map(({ agentId }) => agentId)
    .sort((a, b) => rings.get(a)! - rings.get(b)!);
  const decision = { upgrade, withdraw: [] };
  if (rollout.state === 'complete') return decision;

  const arrived = reached.filter((agent) => hasArrived(rollout, agent));
  const waitsFor = due.filter(({ aside, task }) => aside === undefined || isLive(task));
  if (waitsFor.length > 0 || arrived.length === 0) return decision;
  if (rollout.ringDoneForMs === undefined) return { ...decision, change: { kind: 'ring-done' } };
  if (rollout.ringDoneForMs < rollout.soakMs) return decision;
  if (arrived.filter(({ online }) => online).length * 2 < arrived.length) return decision;
  return { ...decision, change: { kind: rollout.ring + 1 < rollout.rings.length ? 'next-ring' : 'complete' } };
}

function isLive(task: RolloutAgent['task']): boolean {
  return task?.state === 'waiting' || task?.state === 'draining' || task?.state === 'upgrading';
}
