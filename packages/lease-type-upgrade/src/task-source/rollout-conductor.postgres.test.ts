import { randomUUID } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { bundleProperty, channelProperty, ringsOf, type RolloutAgent } from '@drover/agent-rollouts';
import { createMemoryContentStore, digestOfBytes } from '@drover/content-store';
import type { AgentView, AssignedAttempt, AttemptEnd, TaskSource } from '@drover/lease-kit';
import { AgentDescriptionSchema } from '@drover/lease-protocol';
import type { DroverStore, RolloutDraft } from '@drover/lease-store';
import { createPostgresStore, migrate } from '@drover/lease-store-postgres';
import { createTestDatabase } from '@drover/postgres-embedded/testing';
import { upgradePayloadType } from '@drover/task-sources';
import { Pool } from 'pg';
import { expect, test, vi } from 'vitest';
import { RolloutConductor } from './rollout-conductor.ts';
import { createUpgradeTaskSource } from './upgrade-task-source.ts';

const context = { principal: { kind: 'service', id: 'test' } } as const;
const agentIds = Array.from({ length: 30 }, (_, index) => `agent-${index}`);
const bytes = Buffer.from('a bundle');
const digest = digestOfBytes(bytes);
const draft: RolloutDraft = {
  channel: 'stable',
  rolloutId: randomUUID(),
  version: '2.0.0',
  bundles: [{ platform: 'any', ...digest, signature: 's' }],
  rings: [20, 100],
  soakMs: 0,
  atOnceMax: 3,
  healthyWithinMs: 60_000,
  allowDowngrade: false,
};

/** Opens a session as an agent that runs a bundle. */
async function open(store: DroverStore, agentId: string, bundle: string): Promise<AgentView> {
  const properties = { os: 'linux', arch: 'x64', [channelProperty]: 'stable', [bundleProperty]: bundle };
  const description = create(AgentDescriptionSchema, {
    version: '1.0.0',
    payloadTypes: [upgradePayloadType],
    leasesMax: 4,
    properties: Object.entries(properties).map(([key, value]) => ({ key, value })),
  });
  const { epoch } = await store.sessions.openSession(
    { agentId, sessionId: randomUUID(), serverId: 's', instanceNonce: agentId, description, proven: [] },
    context,
  );
  return {
    agentId,
    epoch,
    properties: new Map(Object.entries(properties).map(([key, value]) => [key, [value]])),
    pools: [],
    resourcesTotal: {},
    resourcesFree: {},
    leasesFree: 4,
    idle: true,
    payloadTypes: [upgradePayloadType],
  };
}

async function assigned(source: TaskSource, views: ReadonlyMap<string, AgentView>): Promise<AssignedAttempt[]> {
  const answers = await source.ask([...views.values()], { signal: new AbortController().signal });
  return [...answers.values()].flatMap((answer) => (answer.kind === 'assigned' ? answer.attempts : []));
}

/** A store with agents, and two servers' sources and conductors. */
async function fleet() {
  const stack = new AsyncDisposableStack();
  const database = stack.use(await createTestDatabase());
  const pool = stack.adopt(new Pool({ connectionString: database.url, max: 10 }), (one) => one.end());
  await migrate(pool);
  const content = stack.use(createMemoryContentStore());
  await content.write(digest, bytes);
  const servers = [0, 1].map(() => {
    const store = stack.use(createPostgresStore({ pool }));
    const conductor = stack.use(new RolloutConductor({ store, blobs: content }, { pollMs: 200 }));
    const source = createUpgradeTaskSource({ ...store, settled: () => conductor.wake() });
    stack.defer(source.onWork!(() => undefined));
    conductor.start();
    return { store, source, conductor };
  });
  const { store } = servers[0]!;
  await store.sessions.beat('s', context);
  const views = new Map<string, AgentView>();
  for (const agentId of agentIds) views.set(agentId, await open(store, agentId, '0'.repeat(64)));
  const rollout = await store.rollouts.startRollout(draft, context);
  const agents = agentIds.map((agentId): RolloutAgent => ({
    agentId,
    online: true,
    upgradable: true,
    platform: 'linux-x64',
  }));
  const firstRing = [...ringsOf(rollout, agents)].filter(([, ring]) => ring === 0).map(([agentId]) => agentId);
  for (const { conductor } of servers) conductor.wake();
  /** What both servers assign, asked at once, as soon as it is any. */
  const next = async (): Promise<AssignedAttempt[]> => {
    let found: AssignedAttempt[] = [];
    await vi.waitUntil(
      async () => {
        found = (await Promise.all(servers.map(({ source }) => assigned(source, views)))).flat();
        return found.length > 0;
      },
      { timeout: 15_000, interval: 50 },
    );
    return found;
  };
  const end = async (attempt: AssignedAttempt, outcome: AttemptEnd['outcome'], code = 'VERSION_ENDED_AT_START') => {
    const { leaseId, agentId, epoch } = attempt;
    const reason = outcome === 'completed' ? {} : { reason: { code, message: 'exit code 3' } };
    const key = { leaseId, attempt: attempt.attempt, agentId, epoch };
    await store.attempts.record([{ ...key, kind: 'end', outcome, noRetry: false, ...reason }], context);
    for (const { source } of servers) source.ended?.({ ...key, outcome, final: true });
  };
  const stateIs = (state: string) =>
    vi.waitUntil(async () => (await store.rollouts.rollout('stable', context))?.state === state, {
      timeout: 15_000,
      interval: 50,
    });
  return { store, servers, views, firstRing, next, end, stateIs, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

test('a bad build stops at the first ring, within the cap, whatever several servers do at once', async () => {
  await using on = await fleet();
  const attempts = await on.next();
  expect(attempts.length).toBeLessThanOrEqual(draft.atOnceMax);
  for (const { agentId } of attempts) expect(on.firstRing).toContain(agentId);
  await on.end(attempts[0]!, 'failed');
  await on.stateIs('halted');
  for (const attempt of attempts.slice(1)) await on.end(attempt, 'failed');
  const { reason, ring } = (await on.store.rollouts.rollout('stable', context))!;
  expect(reason).toEqual({
    code: 'VERSION_ENDED_AT_START',
    message: expect.stringMatching(/^agent agent-\d+: exit code 3$/),
  });
  expect(ring).toBe(0);
  // Nobody else is asked to do anything.
  await vi.waitUntil(
    async () => {
      const tasks = await on.store.agentTasks.list({ source: 'upgrade', limit: 100, onlyLive: true }, context);
      return tasks.length === 0;
    },
    { timeout: 15_000, interval: 50 },
  );
  for (const { source } of on.servers) expect(await assigned(source, on.views)).toEqual([]);

  // Resumed, it tries again in the same ring, those that failed too.
  const { revision } = (await on.store.rollouts.rollout('stable', context))!;
  await on.store.rollouts.changeRollout('stable', revision, { kind: 'resume', rolloutId: randomUUID() }, context);
  for (const { conductor } of on.servers) conductor.wake();
  for (const { agentId } of await on.next()) expect(on.firstRing).toContain(agentId);
});

test('a good build reaches everybody, the first ring before the others', async () => {
  await using on = await fleet();
  const order: string[] = [];
  while (order.length < agentIds.length) {
    const attempts = await on.next();
    expect(attempts.length).toBeLessThanOrEqual(draft.atOnceMax);
    for (const attempt of attempts) {
      order.push(attempt.agentId);
      // What the next process of the agent would do: it proves the attempt under a new epoch and completes it.
      const proven = [{ leaseId: attempt.leaseId, attempt: attempt.attempt }];
      const view = on.views.get(attempt.agentId)!;
      await on.store.attempts.record([{ ...attempt, kind: 'acceptance' }], context);
      const description = create(AgentDescriptionSchema, {
        payloadTypes: [upgradePayloadType],
        leasesMax: 4,
        properties: [
          { key: channelProperty, value: 'stable' },
          { key: bundleProperty, value: digest.hash },
        ],
      });
      const { epoch } = await on.store.sessions.openSession(
        { ...view, sessionId: randomUUID(), serverId: 's', instanceNonce: attempt.agentId, description, proven },
        context,
      );
      on.views.set(attempt.agentId, { ...view, epoch, properties: new Map([[bundleProperty, [digest.hash]]]) });
      await on.end({ ...attempt, epoch }, 'completed');
    }
  }
  await on.stateIs('complete');
  expect(order.slice(0, on.firstRing.length).sort()).toEqual([...on.firstRing].sort());
  expect(new Set(order).size).toBe(agentIds.length);
});
