import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { HealthRules } from '@drover/agent-health';
import { createFleetPolicy } from '@drover/fleet-policy';
import { systemClock, type Clock, type LeaseDraft } from '@drover/lease-kit';
import { AgentDescriptionSchema } from '@drover/lease-protocol';
import { createMemoryStore, type DroverStore, type SessionRef } from '@drover/lease-store';
import { endOf, openSample, sampleContext as context, sampleJob } from '@drover/lease-store/testing';
import { expect, test } from 'vitest';
import { canarySourceName } from './canary-source.ts';
import { createHealthKeeper, type HealthKeeperOptions } from './health-keeper.ts';

const canary = create(AnySchema, { typeUrl: 'type.googleapis.com/drover.test.v1.Canary' });
const retry: LeaseDraft['retry'] = { attemptsMax: 5, after: ['failed'], onFailedWork: true, backoffMs: 0 };
const rules: Partial<HealthRules> = { canaryBackoffMs: [60_000, 120_000] };

/** A store, its time, and the keepers of two servers; agents `a`, `b`, … of the pool `build` that have sessions. */
async function fleetOf(agentIds: readonly string[], options: HealthKeeperOptions = {}) {
  let shiftMs = 0;
  const clock: Clock = { ...systemClock, wallMs: () => Date.now() + shiftMs };
  const store = createMemoryStore({ clock });
  const policy = createFleetPolicy({ store, principal: context.principal });
  const agents = new Map<string, SessionRef>();
  for (const agentId of agentIds) {
    const description = create(AgentDescriptionSchema, { name: agentId, leasesMax: 8, pools: ['build'] });
    agents.set(agentId, { agentId, epoch: (await openSample(store, agentId, { description })).epoch });
  }
  const keeperOf = () =>
    createHealthKeeper({ store, policy, canary: () => canary }, { everyMs: 1_000, rules, ...options });
  const keepers = [keeperOf(), keeperOf()] as const;
  const pass = (ms: number): void => void (shiftMs += ms);
  return {
    ...{ store, agents, keepers, pass },
    /** Looks again, whoever does. */
    async look() {
      pass(2_000);
      expect(await keepers[0].look()).toBe(true);
      await policy.refresh();
    },
    health: async (agentId: string) => (await store.agentHealth.recordsOf([agentId], context))[0],
    policyOf: (agentId: string) => policy.policyOf(agentId, ['build']),
    async [Symbol.asyncDispose]() {
      for (const keeper of keepers) await keeper[Symbol.asyncDispose]();
      await policy[Symbol.asyncDispose]();
      await store.close();
    },
  };
}

/** Submits a job of which `first` fails every lease; `then`, if there is one, does them. */
async function runJob(store: DroverStore, first: SessionRef, then: SessionRef | undefined, leases = 4): Promise<void> {
  const drafts = Array.from({ length: leases }, () => ({
    retry: { ...retry, attemptsMax: then === undefined ? 1 : 5 },
  }));
  const { assigned } = await store.jobs.submit([sampleJob(drafts, first)], context);
  const failed = assigned.map((attempt) => endOf(attempt, 'completed', { succeeded: false }));
  await store.attempts.record(failed, context);
  if (then === undefined) return;
  const classes = await store.queue.waitingClasses('job', context);
  const classIds = classes.map(({ classId }) => classId);
  const places = Array.from({ length: leases }, () => then);
  const again = await store.queue.claim({ source: 'job', classIds, places }, context);
  expect(again).toHaveLength(leases);
  await store.attempts.record(
    again.map((attempt) => endOf(attempt, 'completed', { succeeded: true })),
    context,
  );
}

/** Takes the canary of an agent and ends it. */
async function endCanary(store: DroverStore, session: SessionRef, succeeded: boolean): Promise<void> {
  const [task] = await store.agentTasks.open(canarySourceName, context);
  expect(task).toMatchObject({ agentId: session.agentId, forced: true, payload: canary });
  const draft = { ...sampleJob().leases[0]!.draft, source: canarySourceName };
  const [bound] = await store.agentTasks.bind(
    { source: canarySourceName, entries: [{ session, revision: task!.revision, draft }], drainTtlMs: 60_000 },
    context,
  );
  if (bound?.result !== 'bound') throw new Error(`the canary is ${bound?.result}`);
  await store.attempts.record([endOf(bound.attempt, 'completed', { succeeded })], context);
  await store.agentTasks.settle(canarySourceName, { backoffMs: [], failuresMax: 1 }, context);
}

test('an agent that fails what another does is withheld, tried, quarantined, tried again and cleared', async () => {
  await using fleet = await fleetOf(['a', 'b', 'c']);
  const { store, agents, look, health, policyOf } = fleet;
  const [a, b] = [agents.get('a')!, agents.get('b')!];
  await runJob(store, a, b);
  await look();
  expect(await health('a')).toMatchObject({ state: 'suspected', isWithheld: true, pools: ['build', '*'] });
  expect(policyOf('a').withheld?.reason).toMatch(
    /^failed 4 leases in 1 s that succeed elsewhere \(4 of 4 here, 0 of 4/,
  );
  expect(policyOf('b')).toEqual({});
  await look();
  await endCanary(store, a, false);
  await look();
  expect(await health('a')).toMatchObject({ state: 'quarantined', rounds: 1 });
  await look();
  expect(await store.agentTasks.open(canarySourceName, context)).toEqual([]);
  fleet.pass(60_000);
  await look();
  await look();
  await endCanary(store, a, true);
  await look();
  expect(await health('a')).toMatchObject({ state: 'cleared', clearedBy: 'canary' });
  expect(policyOf('a')).toEqual({});
  // What it failed before does not count any more; what it fails now does, without a canary that cannot tell.
  await look();
  expect((await health('a'))?.state).toBe('cleared');
  await runJob(store, a, b);
  await look();
  expect(await health('a')).toMatchObject({ state: 'quarantined', rounds: 2 });
  await store.agentHealth.clear(['a'], 'new disk', context);
  await look();
  expect(policyOf('a')).toEqual({});
  fleet.pass(3 * 3_600_000);
  await look();
  expect(await health('a')).toBeUndefined();
});

test('a bad job speaks against nobody, and no job takes more than the cap', async () => {
  await using fleet = await fleetOf(['a', 'b', 'c', 'd', 'e', 'f']);
  const { store, agents, look } = fleet;
  for (const session of agents.values()) await runJob(store, session, undefined, 8);
  await look();
  expect(await store.agentHealth.records({ limit: 10 }, context)).toEqual([]);
  // A job that only f can do: five agents look bad, a quarter of six is one.
  const f = agents.get('f')!;
  for (const session of agents.values()) if (session !== f) await runJob(store, session, f);
  await look();
  const records = await store.agentHealth.records({ limit: 10 }, context);
  expect(records.map(({ state }) => state)).toEqual(records.map(() => 'suspected'));
  expect([records.length, records.filter(({ isWithheld }) => isWithheld).length]).toEqual([5, 1]);
});

test('one server looks at a time; a canary that was decided and not wanted is wanted by the next look', async () => {
  await using fleet = await fleetOf(['a', 'b', 'c']);
  const { store, agents, keepers, look, health } = fleet;
  await runJob(store, agents.get('a')!, agents.get('b'));
  fleet.pass(2_000);
  expect([await keepers[0].look(), await keepers[1].look()]).toEqual([true, false]);
  await look();
  expect((await health('a'))?.canaryWantedMs).toBeDefined();
  await store.agentTasks.withdraw([{ source: canarySourceName, agentId: 'a' }], 'by hand', context);
  await look();
  expect((await health('a'))?.canaryDueMs).toBeDefined();
  fleet.pass(60_000);
  await look();
  expect(await store.agentTasks.open(canarySourceName, context)).toHaveLength(1);
  // Somebody lets it work meanwhile: its canary is not wanted any more.
  await store.agentHealth.clear(['a'], '', context);
  await look();
  expect(await store.agentTasks.open(canarySourceName, context)).toEqual([]);
});
