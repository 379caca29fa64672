import { once } from 'node:events';
import {
  openSample,
  sampleContext as context,
  samplePayload,
  sampleDraft,
  sampleSession,
} from '@drover/lease-store/testing';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { nextMessage, startFixture } from './child-process.test.fixture.ts';
import { freshSchema, type FreshSchema } from './fresh-schema.test.fixture.ts';

let fresh: FreshSchema;
beforeAll(async () => {
  fresh = await freshSchema();
});
afterEach(() => fresh.empty());
afterAll(() => fresh[Symbol.asyncDispose]());

interface Bound {
  readonly bound: number;
  readonly most: number;
}

async function wantOf(prefixes: readonly string[]): Promise<void> {
  const store = fresh.store();
  const agentIds = prefixes.flatMap((prefix) => [1, 2, 3, 4].map((n) => `${prefix}-${n}`));
  for (const agentId of agentIds) await sampleSession(store, agentId);
  await store.agentTasks.want(
    agentIds.map((agentId) => ({ source: 'restart', agentId, payload: samplePayload() })),
    context,
  );
}

test('three processes bind each task once, and never more at once than the cap', async () => {
  const prefixes = ['a', 'b', 'c'];
  await wantOf(prefixes);
  const processes = prefixes.map((prefix) => startFixture('task-binder.test.fixture.ts', [fresh.schema, prefix, '2']));
  const told = await Promise.all(processes.map((child) => nextMessage<Bound>(child)));
  expect(told.map(({ bound }) => bound)).toEqual([4, 4, 4]);
  expect(Math.max(...told.map(({ most }) => most))).toBeLessThanOrEqual(2);
  const records = await fresh.store().agentTasks.list({ limit: 100 }, context);
  expect(records.map(({ state, last }) => [state, last?.succeeded])).toEqual(records.map(() => ['ended', true]));
});

test('what a process leaves that is killed between a lease’s end and its settling is settled by another', async () => {
  await wantOf(['a']);
  const child = startFixture('task-binder.test.fixture.ts', [fresh.schema, 'a', '4', 'dies']);
  await nextMessage(child);
  child.kill('SIGKILL');
  await once(child, 'exit');
  const store = fresh.store();
  const settled = await store.agentTasks.settle('restart', { backoffMs: [], failuresMax: 1 }, context);
  expect(settled.map(({ end, wantedAgain }) => [end.succeeded, wantedAgain])).toEqual(settled.map(() => [true, false]));
  expect(settled).toHaveLength(4);
});

test('a binding that races with a new session, a withdrawal or itself leaves one lease or none', async () => {
  const store = fresh.store();
  let session = await sampleSession(store, 'agent-1');
  for (let round = 0; round < 25; round += 1) {
    await store.agentTasks.want([{ source: 'restart', agentId: 'agent-1', payload: samplePayload(round) }], context);
    const [task] = await store.agentTasks.open('restart', context);
    const bind = () =>
      store.agentTasks.bind(
        {
          source: 'restart',
          entries: [{ session, revision: task!.revision, draft: sampleDraft({ source: 'restart' }) }],
          drainTtlMs: 60_000,
        },
        context,
      );
    const [first, second, opened] = await Promise.all([
      bind(),
      bind(),
      openSample(store, 'agent-1'),
      round % 2 === 0
        ? store.agentTasks.withdraw([{ source: 'restart', agentId: 'agent-1' }], 'no', context)
        : Promise.resolve(),
    ]);
    const bound = [...first, ...second].filter(({ result }) => result === 'bound');
    expect(bound.length).toBeLessThanOrEqual(1);
    expect(opened.lost).toHaveLength(bound.length);
    session = { agentId: 'agent-1', epoch: opened.epoch };
    await store.agentTasks.settle('restart', { backoffMs: [], failuresMax: 1 }, context);
    await store.agentTasks.withdraw([{ source: 'restart', agentId: 'agent-1' }], 'next round', context);
    expect(await store.attempts.boundTo(session, context)).toEqual([]);
    expect((await store.agentTasks.list({ limit: 1 }, context))[0]?.state).toBe('ended');
  }
});
