import { randomUUID } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { AgentDescriptionSchema } from '@drover/lease-protocol';
import type { Principal } from '@drover/lease-kit';
import { ManualClock } from '@drover/lease-kit/testing';
import { createMemoryStore, type DroverStore } from '@drover/lease-store';
import { expect, test } from 'vitest';
import { createFleetPolicy } from './create-fleet-policy.ts';

const principal: Principal = { kind: 'user', id: 'tester' };
const context = { principal };
const nowMs = Date.parse('2026-06-01T10:00:00Z');

async function setUp(wrap: (store: DroverStore) => DroverStore = (store) => store) {
  const clock = new ManualClock(nowMs);
  const store = createMemoryStore({ clock });
  await store.sessions.openSession(
    {
      agentId: 'a',
      sessionId: randomUUID(),
      serverId: 's',
      instanceNonce: 'n',
      description: create(AgentDescriptionSchema, { leasesMax: 1 }),
      proven: [],
    },
    context,
  );
  const policy = createFleetPolicy({ store: wrap(store), principal, clock, random: () => 0.5 });
  let changes = 0;
  policy.onChange(() => void (changes += 1));
  return { clock, store, policy, changes: () => changes };
}

test('follows pools and settings that any server of the store writes', async () => {
  const { store, policy, changes } = await setUp();
  await using _policy = policy;
  await policy.start();
  expect([policy.pools, policy.policyOf('a', []), changes()]).toEqual([[], {}, 1]);
  await store.pools.createPool({ name: 'linux', condition: 'os == linux' }, context);
  await store.agentSettings.setEnabled(['a'], { enabled: false, comment: 'smoke' }, context);
  store.signals.announce({ kind: 'settings' });
  await expect.poll(() => policy.pools.map(({ name }) => name)).toEqual(['linux']);
  expect(policy.policyOf('a', [])).toMatchObject({ disabled: { comment: 'smoke', by: 'user:tester' } });
  expect(policy.policyOf('b', [])).toEqual({});
  expect(changes()).toBe(2);
  await policy.refresh();
  expect(changes()).toBe(2);
});

test('knows the weights of submitters by pool, whatever its case; whoever is not named has 1', async () => {
  const { store, policy } = await setUp();
  await using _policy = policy;
  await store.pools.createPool({ name: 'GPU', agents: [], weights: { 'user:ann': 3 } }, context);
  await policy.start();
  const weights = (pool?: string) => ['user:ann', 'user:bob'].map((name) => policy.weightOf(pool, name));
  expect([weights('gpu'), weights('other'), weights()]).toEqual([
    [3, 1],
    [1, 1],
    [1, 1],
  ]);
  await store.pools.replacePool({ name: 'gpu', agents: [], weights: { 'user:bob': 0.5 } }, context);
  await policy.refresh();
  expect(weights(' Gpu ')).toEqual([1, 0.5]);
});

test('a lost signal costs a poll; a store that is away costs nothing that was known', async () => {
  let isAway = false;
  const { clock, store, policy } = await setUp((inner) => ({
    ...inner,
    pools: {
      ...inner.pools,
      pools: (...args) => (isAway ? Promise.reject(new Error('away')) : inner.pools.pools(...args)),
    },
  }));
  await using _policy = policy;
  isAway = true;
  await expect(policy.start()).rejects.toThrow('away');
  isAway = false;
  await store.pools.createPool({ name: 'one', agents: ['a'] }, context);
  await policy.start();
  isAway = true;
  store.signals.announce({ kind: 'resync' });
  await expect.poll(() => policy.refresh().then(String, String)).toContain('away');
  expect(policy.pools.map(({ name }) => name)).toEqual(['one']);
  isAway = false;
  await store.pools.createPool({ name: 'two', agents: ['a'] }, context);
  await expect.poll(() => (clock.advance(1_000), policy.pools.length)).toBe(2);
});

test('downtimes and being busy begin and end by the clock, in pools without regard to case', async () => {
  const { clock, store, policy, changes } = await setUp();
  await using _policy = policy;
  const downtime = { downtimeId: randomUUID(), durationMs: 3_600_000, agents: [], comment: 'patches' };
  const schedule = { kind: 'daily', time: '12:00', timeZone: 'UTC' } as const;
  await store.agentSettings.addDowntime({ ...downtime, schedule, pools: ['Linux'] }, context);
  const once = { kind: 'once', startMs: nowMs + 7_200_000 } as const;
  const longer = { downtimeId: randomUUID(), schedule: once, durationMs: 7_200_000, agents: ['a'], pools: [] };
  await store.agentSettings.addDowntime({ ...longer, comment: 'move' }, context);
  await store.agentSettings.setBusy(['a'], { busyForMs: 3_600_000, comment: 'demo' }, context);
  await policy.start();
  expect(policy.policyOf('a', ['linux'])).toMatchObject({ busy: { comment: 'demo' } });
  expect(policy.policyOf('a', ['linux']).downtime).toBeUndefined();
  clock.advance(3_600_000);
  await expect.poll(() => policy.policyOf('a', ['linux'])).toEqual({});
  const before = changes();
  clock.advance(3_600_000);
  expect(changes()).toBeGreaterThan(before);
  expect(policy.policyOf('b', ['other', 'linux']).downtime).toMatchObject({ untilMs: nowMs + 10_800_000 });
  expect(policy.policyOf('b', ['other'])).toEqual({});
  // Of several, the one that ends last.
  expect(policy.policyOf('a', ['linux']).downtime).toMatchObject({ comment: 'move', untilMs: nowMs + 14_400_000 });
  clock.advance(7_200_000);
  expect(policy.policyOf('a', ['linux'])).toEqual({});
});

test('a downtime that names nobody is that of the whole fleet', async () => {
  const { store, policy } = await setUp();
  await using _policy = policy;
  const schedule = { kind: 'once', startMs: nowMs } as const;
  const whole = { downtimeId: randomUUID(), schedule, durationMs: 60_000, agents: [], pools: [], comment: '' };
  await store.agentSettings.addDowntime(whole, context);
  await policy.start();
  expect(policy.policyOf('anybody', []).downtime).toBeDefined();
});
