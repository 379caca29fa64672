import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { AgentView, AttemptEnd, TaskAnswer, TaskSource } from '@drover/lease-kit';
import { ManualClock, taskSourceCompliance } from '@drover/lease-kit/testing';
import { createMemoryStore, type AgentTaskWish, type DroverStore } from '@drover/lease-store';
import { endOf, sampleContext as context, sampleSession } from '@drover/lease-store/testing';
import { describe, expect, test } from 'vitest';
import {
  createAgentTaskSource,
  type AgentTaskPlan,
  type AgentTaskSourceDeps,
  type AgentTaskSourceOptions,
} from './agent-task-source.ts';

const payload = create(AnySchema, { typeUrl: 'type.googleapis.com/drover.test.v1.Restart' });
const lease: AgentTaskPlan = {
  kind: 'lease',
  lease: { name: 'restart', payload, runLimitMs: 60_000, cancelGraceMs: 1_000 },
};
const options: AgentTaskSourceOptions = {
  name: 'restart',
  drainReason: 'it is to be restarted',
  retry: { backoffMs: [10_000], failuresMax: 2 },
};
const signal = new AbortController().signal;

async function agentOf(store: DroverStore, agentId: string, rest: Partial<AgentView> = {}): Promise<AgentView> {
  const { epoch } = await sampleSession(store, agentId);
  return {
    agentId,
    epoch,
    properties: new Map(),
    pools: [],
    resourcesTotal: {},
    resourcesFree: {},
    leasesFree: 4,
    idle: true,
    payloadTypes: ['drover.test.v1.Restart'],
    ...rest,
  };
}

function setUp(
  sourceOptions: Partial<AgentTaskSourceOptions> = {},
  plan: AgentTaskSourceDeps['plan'] = () => lease,
  clock = new ManualClock(1_000_000),
) {
  const store = createMemoryStore({ clock });
  const calls: string[] = [];
  const { agentTasks } = store;
  const counted: AgentTaskSourceDeps['agentTasks'] = {
    open: (...of) => (calls.push('open'), agentTasks.open(...of)),
    bind: (...of) => (calls.push('bind'), agentTasks.bind(...of)),
    drop: (...of) => (calls.push('drop'), agentTasks.drop(...of)),
    settle: (...of) => (calls.push('settle'), agentTasks.settle(...of)),
  };
  const make = () =>
    createAgentTaskSource(
      { ...options, ...sourceOptions },
      { agentTasks: counted, signals: store.signals, plan, clock, random: () => 0.5 },
    );
  const source = make();
  let woken = 0;
  const stop = source.onWork!(() => (woken += 1));
  const want = async (...wishes: (Partial<AgentTaskWish> & { agentId: string })[]) => {
    const results = await agentTasks.want(
      wishes.map((wish) => ({ source: 'restart', payload, ...wish })),
      context,
    );
    store.signals.announce({ kind: 'work', source: 'restart' });
    await Promise.resolve();
    return results;
  };
  return { store, clock, calls, source, make, want, stop, woken: () => woken };
}

const shown = (answers: ReadonlyMap<string, TaskAnswer>) =>
  Object.fromEntries([...answers].map(([agentId, answer]) => [agentId, answer.kind]));
const ask = async (source: TaskSource, ...agents: AgentView[]) => shown(await source.ask(agents, { signal }));

/** Ends what a source has bound to an agent, and tells it. */
async function endBound(
  store: DroverStore,
  source: TaskSource,
  { agentId, epoch }: AgentView,
  outcome: AttemptEnd['outcome'],
) {
  const [held] = await store.attempts.boundTo({ agentId, epoch }, context);
  await store.attempts.record([endOf(held!, outcome)], context);
  source.ended?.({ leaseId: held!.leaseId, attempt: held!.attempt, agentId, outcome, final: true });
}

describe('a source of agent tasks', () => {
  test('drains an agent that is busy, gives an exclusive lease once it is idle, and nothing afterwards', async () => {
    const { store, source, want } = setUp();
    const agent = await agentOf(store, 'a');
    await want({ agentId: 'a' });
    expect(await ask(source, { ...agent, idle: false })).toEqual({ a: 'drain' });
    expect(await ask(source, { ...agent, idle: false })).toEqual({ a: 'drain' });
    const answers = await source.ask([agent], { signal });
    const answer = answers.get('a');
    expect(answer).toMatchObject({ kind: 'assigned', attempts: [{ attempt: 1, requirements: { exclusive: true } }] });
    expect(await ask(source, agent)).toEqual({});
  });

  test('gives a forced lease at once, beside whatever runs', async () => {
    const { store, source, want } = setUp();
    const agent = await agentOf(store, 'a', { idle: false });
    await want({ agentId: 'a', forced: true });
    const answer = (await source.ask([agent], { signal })).get('a');
    expect(answer).toMatchObject({ kind: 'assigned', attempts: [{ requirements: {} }] });
  });

  test('costs no statement while nothing is wanted, nor for agents of which nothing is', async () => {
    const { store, source, want, calls, stop, clock } = setUp();
    const [a, b] = [await agentOf(store, 'a'), await agentOf(store, 'b')];
    await ask(source, a, b);
    expect(calls.splice(0)).toEqual(['open']);
    await ask(source, a, b);
    expect(calls).toEqual([]);
    await want({ agentId: 'a' });
    await ask(source, b);
    await ask(source, b);
    expect(calls.splice(0)).toEqual(['open']);
    expect(await ask(source, { ...a, idle: false })).toEqual({ a: 'drain' });
    await ask(source, { ...a, idle: false });
    expect(calls).toEqual(['bind']);
    stop();
    expect(clock.pendingCalls).toBe(0);
  });

  test('wakes for a wish on any server, and for one that no signal spoke of', async () => {
    const { store, source, want, woken, clock } = setUp();
    const agent = await agentOf(store, 'a');
    await ask(source, agent);
    await want({ agentId: 'a' });
    expect(woken()).toBe(1);
    expect(await ask(source, agent)).toEqual({ a: 'assigned' });
    const b = await agentOf(store, 'b');
    await store.agentTasks.want([{ source: 'restart', agentId: 'b', payload }], context);
    clock.advance(5_000);
    await expect.poll(() => woken()).toBe(2);
    expect(await ask(source, b)).toEqual({ b: 'assigned' });
  });

  test('asks again about an agent whose row was being written, though nothing else happens to it', async () => {
    const { store, source, want, woken, clock } = setUp();
    const agent = await agentOf(store, 'a');
    await want({ agentId: 'a' });
    // What a row that somebody else has locked looks like.
    expect(await ask(source, { ...agent, epoch: agent.epoch - 1 })).toEqual({});
    const before = woken();
    clock.advance(5_000);
    await expect.poll(() => woken()).toBe(before + 1);
    expect(await ask(source, agent)).toEqual({ a: 'assigned' });
  });

  test('a drained agent that cannot be asked about does not keep the source awake', async () => {
    const { store, source, want, woken, clock } = setUp();
    const [a, b] = [await agentOf(store, 'a'), await agentOf(store, 'b')];
    await want({ agentId: 'a' });
    expect(await ask(source, { ...a, idle: false })).toEqual({ a: 'drain' });
    // Its place is to be renewed after a minute, but it is away.
    clock.advance(61_000);
    await expect.poll(() => woken()).toBeGreaterThan(1);
    // The poll asks for it, and nothing in between.
    await ask(source, b);
    const before = woken();
    for (let round = 0; round < 10; round += 1) {
      clock.advance(2);
      await ask(source, b);
    }
    expect(woken()).toBe(before);
  });

  test('drains no more agents than the cap of the group allows, and goes on when one is done', async () => {
    const { store, source, want, calls } = setUp();
    const group = { name: 'g', max: 1 };
    const [a, b] = [await agentOf(store, 'a'), await agentOf(store, 'b')];
    await want({ agentId: 'a', group }, { agentId: 'b', group });
    expect(await ask(source, { ...a, idle: false }, { ...b, idle: false })).toEqual({ a: 'drain' });
    calls.splice(0);
    // Many things happen to an agent that waits for its turn: none of them costs a statement.
    for (let count = 0; count < 5; count += 1) expect(await ask(source, b)).toEqual({});
    expect(calls).toEqual([]);
    expect(await ask(source, a, b)).toEqual({ a: 'assigned' });
    await endBound(store, source, a, 'completed');
    await expect.poll(() => ask(source, b)).toEqual({ b: 'assigned' });
  });

  test('keeps a cap of its own over several servers', async () => {
    const { store, source, make, want } = setUp({ atOnceMax: 1 });
    const other = make();
    const [a, b] = [await agentOf(store, 'a'), await agentOf(store, 'b')];
    await want({ agentId: 'a' }, { agentId: 'b' });
    const both = await Promise.all([ask(source, a), ask(other, b)]);
    expect(both).toEqual([{ a: 'assigned' }, {}]);
  });

  test('tries again after a failure when the back-off is over, and gives up at last', async () => {
    const { store, source, want, clock, woken } = setUp();
    const agent = await agentOf(store, 'a');
    await want({ agentId: 'a' });
    await ask(source, agent);
    await endBound(store, source, agent, 'failed');
    await expect.poll(async () => (await store.agentTasks.open('restart', context)).length).toBe(1);
    expect(await ask(source, agent)).toEqual({});
    const before = woken();
    clock.advance(10_000);
    await expect.poll(() => woken()).toBeGreaterThan(before);
    expect(await ask(source, agent)).toEqual({ a: 'assigned' });
    await endBound(store, source, agent, 'failed');
    await expect.poll(async () => (await store.agentTasks.list({ limit: 1 }, context))[0]?.state).toBe('ended');
    expect(await ask(source, agent)).toEqual({});
  });

  test('settles with its poll what nobody has told it of', async () => {
    const { store, source, want, clock } = setUp();
    const agent = await agentOf(store, 'a');
    await want({ agentId: 'a' });
    await ask(source, agent);
    const [held] = await store.attempts.boundTo(agent, context);
    await store.attempts.record([endOf(held!)], context);
    clock.advance(5_000);
    await expect
      .poll(async () => (await store.agentTasks.list({ limit: 1 }, context))[0]?.last?.outcome)
      .toBe('completed');
  });

  test('lets go of a drained agent when the task is withdrawn', async () => {
    const { store, source, want } = setUp();
    const agent = await agentOf(store, 'a', { idle: false });
    await want({ agentId: 'a' });
    expect(await ask(source, agent)).toEqual({ a: 'drain' });
    await store.agentTasks.withdraw([{ source: 'restart', agentId: 'a' }], 'no', context);
    store.signals.announce({ kind: 'work', source: 'restart' });
    await expect.poll(() => ask(source, agent)).toEqual({});
  });

  test('asks for its place again while an agent is drained for long', async () => {
    const { store, source, want, clock, woken } = setUp({ drainTtlMs: 8_000 });
    const agent = await agentOf(store, 'a', { idle: false });
    await want({ agentId: 'a' });
    await ask(source, agent);
    for (let round = 0; round < 4; round += 1) {
      const before = woken();
      clock.advance(4_000);
      await expect.poll(() => woken()).toBeGreaterThan(before);
      expect(await ask(source, agent)).toEqual({ a: 'drain' });
      expect((await store.agentTasks.list({ limit: 1 }, context))[0]?.state).toBe('draining');
    }
  });

  test('waits and drops as its plan says, and drops what the agent has no handler for', async () => {
    let plan: AgentTaskPlan = { kind: 'wait' };
    const { store, source, want, clock, woken } = setUp({}, () => plan);
    const agent = await agentOf(store, 'a');
    await want({ agentId: 'a' });
    expect(await ask(source, agent)).toEqual({});
    const before = woken();
    clock.advance(5_000);
    await expect.poll(() => woken()).toBeGreaterThan(before);
    plan = { kind: 'drop', code: 'NO_NEED', message: 'it is new' };
    expect(await ask(source, agent)).toEqual({});
    const last = async () => (await store.agentTasks.list({ limit: 1 }, context))[0]?.last?.reason;
    expect(await last()).toEqual({ code: 'NO_NEED', message: 'it is new' });
    plan = lease;
    await want({ agentId: 'a' });
    expect(await ask(source, { ...agent, payloadTypes: ['drover.job.v1.Batch'] })).toEqual({});
    expect(await last()).toEqual({
      code: 'LEASE_TYPE_UNKNOWN',
      message: 'The agent has no handler for drover.test.v1.Restart; it has: drover.job.v1.Batch.',
    });
  });

  test('a plan that throws leaves the task waiting', async () => {
    const { store, source, want } = setUp({}, () => {
      throw new Error('a defect');
    });
    const agent = await agentOf(store, 'a');
    await want({ agentId: 'a' });
    expect(await ask(source, agent)).toEqual({});
    expect(await store.agentTasks.open('restart', context)).toHaveLength(1);
  });
});

taskSourceCompliance({
  describe,
  test,
  async make() {
    const { store, source, want, stop } = setUp();
    const agents: string[] = [];
    return {
      source,
      async agent(agentId) {
        agents.push(agentId);
        return agentOf(store, agentId);
      },
      async giveWork(count) {
        await want(...agents.slice(0, count).map((agentId) => ({ agentId })));
      },
      async [Symbol.asyncDispose]() {
        stop();
        await store.close();
      },
    };
  },
});
