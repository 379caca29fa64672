import { isDroverError } from '@drover/lease-kit';
import { describe, expect, test } from 'vitest';
import { checkRollout, type RolloutWish } from './check-rollout.ts';
import { decideRollout } from './decide-rollout.ts';
import { ringsOf, rolloutPercentile } from './rollout-rings.ts';
import type { Rollout, RolloutAgent } from './rollout.ts';

const fresh = 'f'.repeat(64);
const rollout: Rollout = {
  channel: 'stable',
  rolloutId: 'r',
  version: '2.0.0',
  bundles: [{ platform: 'linux-x64', hash: fresh, sizeBytes: 1, signature: 's' }],
  rings: [10, 50, 100],
  ring: 0,
  soakMs: 1_000,
  atOnceMax: 10,
  state: 'rolling',
};
const agents: RolloutAgent[] = Array.from({ length: 100 }, (_, index) => ({
  agentId: `agent-${index}`,
  online: true,
  upgradable: true,
  platform: 'linux-x64',
  bundle: '0'.repeat(64),
}));
const after = (list: readonly RolloutAgent[], ids: readonly string[], change: Partial<RolloutAgent>): RolloutAgent[] =>
  list.map((agent) => (ids.includes(agent.agentId) ? { ...agent, ...change } : agent));
const inRing = (ring: number): string[] =>
  [...ringsOf(rollout, agents)].filter(([, number]) => number <= ring).map(([agentId]) => agentId);

describe('rings', () => {
  test('hold about their percentage, the same agents each time, and each the ones before', () => {
    expect(inRing(0).length).toBeGreaterThan(3);
    expect(inRing(0).length).toBeLessThan(20);
    expect(inRing(1).length).toBeGreaterThan(inRing(0).length + 20);
    expect(inRing(2)).toHaveLength(100);
    for (const agentId of inRing(0)) expect(rolloutPercentile(agentId)).toBeLessThan(10);
  });

  test('the first one holds the agent with the lowest percentile, however few there are', () => {
    const few = agents.filter(({ agentId }) => rolloutPercentile(agentId) > 60).slice(0, 3);
    const lowest = few.map(({ agentId }) => agentId).sort((a, b) => rolloutPercentile(a) - rolloutPercentile(b))[0]!;
    expect(decideRollout(rollout, few).upgrade).toEqual([lowest]);
    // One that cannot be upgraded does not stand for the rest.
    const without = after(few, [lowest], { online: false });
    expect(decideRollout(rollout, without).upgrade).toHaveLength(1);
  });

  test('a build that takes its first agent down after it was healthy does not go from one agent to the next', () => {
    const few = agents.filter(({ agentId }) => rolloutPercentile(agentId) > 60).slice(0, 3);
    const [first] = decideRollout(rollout, few).upgrade;
    for (const state of ['upgrading', 'upgraded'] as const) {
      const down = after(few, [first!], { online: false, bundle: fresh, task: { state } });
      const soaked = { ...rollout, ringDoneForMs: rollout.soakMs };
      expect(decideRollout(soaked, down)).toEqual({ upgrade: [], withdraw: [] });
    }
  });
});

describe('a roll-out', () => {
  test('wants the agents of its ring, and each of them once', () => {
    const { upgrade, change } = decideRollout(rollout, agents);
    expect([...upgrade].sort()).toEqual(inRing(0).sort());
    expect(change).toBeUndefined();
    const busy = after(agents, upgrade, { task: { state: 'draining' } });
    expect(decideRollout(rollout, busy)).toEqual({ upgrade: [], withdraw: [] });
  });

  test('is halted by the first failure, and what has not begun is withdrawn', () => {
    const [bad, ...others] = inRing(0);
    const failure = { code: 'VERSION_ENDED_AT_START', message: 'exit code 1' };
    const failed = after(after(agents, others, { task: { state: 'draining' } }), [bad!], {
      task: { state: 'failed', failure },
    });
    const decision = decideRollout(rollout, failed);
    expect(decision.upgrade).toEqual([]);
    expect([...decision.withdraw].sort()).toEqual(others.sort());
    expect(decision.change).toEqual({
      kind: 'halt',
      reason: { code: failure.code, message: `agent ${bad!}: exit code 1` },
    });
    // What is under way is left to its end.
    const under = after(failed, others, { task: { state: 'upgrading' } });
    expect(decideRollout(rollout, under).withdraw).toEqual([]);
    expect(decideRollout({ ...rollout, state: 'halted' }, agents)).toEqual({ upgrade: [], withdraw: [] });
  });

  test('goes from ring to ring when all have arrived and it has soaked, and is complete after the last', () => {
    const arrived = after(agents, inRing(0), { bundle: fresh });
    expect(decideRollout(rollout, arrived).change).toEqual({ kind: 'ring-done' });
    const soaking = { ...rollout, ringDoneForMs: 1_000 };
    expect(decideRollout({ ...soaking, ringDoneForMs: 999 }, arrived).change).toBeUndefined();
    expect(decideRollout(soaking, arrived).change).toEqual({ kind: 'next-ring' });
    const all = after(agents, inRing(2), { bundle: fresh });
    expect(decideRollout({ ...soaking, ring: 2 }, all).change).toEqual({ kind: 'complete' });
  });

  test('waits for no agent that is offline, cannot be upgraded or is set aside, but for one that was upgraded', () => {
    const ids = inRing(0);
    const nobody = after(agents, ids, { online: false });
    // The lowest of the others stands for the ring.
    expect(decideRollout(rollout, nobody).upgrade).toHaveLength(1);
    const some = after(after(agents, ids, { aside: 'disabled' }), ids.slice(0, 1), { bundle: fresh });
    expect(decideRollout(rollout, some)).toEqual({ upgrade: [], withdraw: [], change: { kind: 'ring-done' } });
    expect(decideRollout(rollout, after(agents, ids, { aside: 'disabled' }))).toEqual({ upgrade: [], withdraw: [] });
    expect(decideRollout(rollout, [])).toEqual({ upgrade: [], withdraw: [] });
  });

  test('goes no further while most of those that were upgraded are away', () => {
    const ids = inRing(0);
    const away = after(after(agents, ids, { bundle: fresh, online: false }), ids.slice(0, 1), { online: true });
    const soaked = { ...rollout, ringDoneForMs: 10_000 };
    // Somebody else stands for the ring meanwhile only if nobody of it is online.
    expect(decideRollout(soaked, away).change).toBeUndefined();
  });

  test('that is complete upgrades who comes later, and is not halted by one that fails', () => {
    const complete: Rollout = { ...rollout, state: 'complete', ring: 2 };
    const all = after(agents, inRing(2), { bundle: fresh });
    const late = after(all, ['agent-7'], { bundle: 'a'.repeat(64) });
    expect(decideRollout(complete, late)).toEqual({ upgrade: ['agent-7'], withdraw: [] });
    const failed = after(late, ['agent-7'], { task: { state: 'failed', failure: { code: 'X', message: 'x' } } });
    expect(decideRollout(complete, failed)).toEqual({ upgrade: [], withdraw: [] });
  });

  test('leaves agents of another platform alone', () => {
    const other = agents.map((agent) => ({ ...agent, platform: 'darwin-arm64' }));
    expect(decideRollout({ ...rollout, ring: 2 }, other)).toEqual({ upgrade: [], withdraw: [] });
  });
});

describe('a wish that cannot be', () => {
  const wish: RolloutWish = { ...rollout, healthyWithinMs: 60_000 };
  test.each<[string, Partial<RolloutWish>]>([
    ['channel', { channel: 'Stable!' }],
    ['bundles', { bundles: [] }],
    ['bundles', { bundles: [...rollout.bundles, ...rollout.bundles] }],
    ['signature', { bundles: [{ ...rollout.bundles[0]!, signature: 'x'.repeat(9_000) }] }],
    ['rings', { rings: [] }],
    ['rings', { rings: [10, 5, 100] }],
    ['rings', { rings: [10, 90] }],
    ['rings', { rings: [0, 100] }],
    ['soak', { soakMs: -1 }],
    ['at once', { atOnceMax: 0 }],
    ['healthy within', { healthyWithinMs: 10 }],
  ])('by its %s is refused', (where, change) => {
    expect(() => checkRollout({ ...wish, ...change })).toThrow(
      expect.toSatisfy((error) => isDroverError(error, 'ROLLOUT_INVALID') && error.details['where'] === where),
    );
    checkRollout(wish);
  });
});
