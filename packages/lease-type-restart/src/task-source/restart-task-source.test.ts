import { create } from '@bufbuild/protobuf';
import { anyPack, durationFromMs, EmptySchema } from '@bufbuild/protobuf/wkt';
import type { AgentView } from '@drover/lease-kit';
import { taskSourceCompliance } from '@drover/lease-kit/testing';
import { createMemoryStore, type DroverStore } from '@drover/lease-store';
import { sampleContext as context, sampleSession } from '@drover/lease-store/testing';
import { describe, expect, test } from 'vitest';
import { RestartSchema, type Restart } from '../gen/drover/restart/v1/restart_pb.ts';
import { restartRequest } from '../restart-bounds.ts';
import { createRestartTaskSource } from './restart-task-source.ts';
import { serverPart } from './server-part.ts';

const payload = anyPack(RestartSchema, create(RestartSchema, { backWithin: durationFromMs(60_000) }));

async function agentOf(store: DroverStore, agentId: string): Promise<AgentView> {
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
    payloadTypes: [RestartSchema.typeName],
  };
}

taskSourceCompliance({
  describe,
  test,
  async make() {
    const store = createMemoryStore();
    const { agentTasks, signals } = store;
    const source = createRestartTaskSource({ agentTasks, signals });
    const stop = source.onWork!(() => undefined);
    const agents: string[] = [];
    return {
      source,
      async agent(agentId) {
        agents.push(agentId);
        return agentOf(store, agentId);
      },
      async giveWork(count) {
        await agentTasks.want(
          agents.slice(0, count).map((agentId) => ({ source: 'restart', agentId, payload })),
          context,
        );
        signals.announce({ kind: 'work', source: 'restart' });
        await Promise.resolve();
      },
      async [Symbol.asyncDispose]() {
        stop();
        await store.close();
      },
    };
  },
});

describe('the source of restarts', () => {
  test('grants the absence that the restart asks for, and fails one that is longer', async () => {
    await using store = createMemoryStore();
    const source = createRestartTaskSource({ agentTasks: store.agentTasks });
    const agent = await agentOf(store, 'a');
    await store.agentTasks.want([{ source: 'restart', agentId: 'a', payload }], context);
    const answer = (await source.ask([agent], { signal: new AbortController().signal })).get('a');
    expect(answer).toMatchObject({ kind: 'assigned', attempts: [{ absence: { msMax: 60_000, then: 'failed' } }] });
    expect([source.assignsWhenDisabled, source.assignsInDowntime]).toEqual([true, true]);
  });

  test.each([
    [create(RestartSchema, { reason: 'x'.repeat(1_025) }), /reason: 1025 characters; allowed: at most 1024/],
    [create(RestartSchema, { backWithin: durationFromMs(999) }), /back_within: 999 ms; allowed: 1 s to 24 h/],
    [create(RestartSchema, { backWithin: durationFromMs(86_400_001) }), /back_within/],
  ] as [Restart, RegExp][])('%#: refuses a payload that is not right', async (restart, message) => {
    expect(() => restartRequest(restart)).toThrow(message);
    const { agentTask } = await serverPart.create(undefined, { agentTasks: createMemoryStore().agentTasks });
    expect(() => agentTask!.check(anyPack(RestartSchema, restart))).toThrow(message);
  });

  test('refuses a message of another type', async () => {
    const { agentTask } = await serverPart.create(undefined, { agentTasks: createMemoryStore().agentTasks });
    expect(() => agentTask!.check(anyPack(EmptySchema, create(EmptySchema)))).toThrow(/allowed: a drover.restart.v1/);
  });
});
