import { create } from '@bufbuild/protobuf';
import { anyPack, durationFromMs, EmptySchema } from '@bufbuild/protobuf/wkt';
import type { AgentView } from '@drover/lease-kit';
import { taskSourceCompliance } from '@drover/lease-kit/testing';
import { createMemoryStore, type DroverStore } from '@drover/lease-store';
import { sampleContext as context, sampleSession } from '@drover/lease-store/testing';
import { describe, expect, test } from 'vitest';
import { ShutdownSchema, type Shutdown } from '../gen/drover/shutdown/v1/shutdown_pb.ts';
import { shutdownRequest } from '../shutdown-bounds.ts';
import { createShutdownTaskSource } from './shutdown-task-source.ts';
import { serverPart } from './server-part.ts';

const payload = anyPack(ShutdownSchema, create(ShutdownSchema, { goneAfter: durationFromMs(60_000) }));

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
    payloadTypes: [ShutdownSchema.typeName],
  };
}

taskSourceCompliance({
  describe,
  test,
  async make() {
    const store = createMemoryStore();
    const { agentTasks, signals } = store;
    const source = createShutdownTaskSource({ agentTasks, signals });
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
          agents.slice(0, count).map((agentId) => ({ source: 'shutdown', agentId, payload })),
          context,
        );
        signals.announce({ kind: 'work', source: 'shutdown' });
        await Promise.resolve();
      },
      async [Symbol.asyncDispose]() {
        stop();
        await store.close();
      },
    };
  },
});

describe('the source of shutdowns', () => {
  test('grants the absence that the shutdown asks for, which completes it', async () => {
    await using store = createMemoryStore();
    const source = createShutdownTaskSource({ agentTasks: store.agentTasks });
    const agent = await agentOf(store, 'a');
    await store.agentTasks.want([{ source: 'shutdown', agentId: 'a', payload }], context);
    const answer = (await source.ask([agent], { signal: new AbortController().signal })).get('a');
    expect(answer).toMatchObject({ kind: 'assigned', attempts: [{ absence: { msMax: 60_000, then: 'completed' } }] });
    expect([source.assignsWhenDisabled, source.assignsInDowntime]).toEqual([true, true]);
  });

  test.each([
    [create(ShutdownSchema, { reason: 'x'.repeat(1_025) }), /reason: 1025 characters; allowed: at most 1024/],
    [create(ShutdownSchema, { goneAfter: durationFromMs(999) }), /gone_after: 999 ms; allowed: 1 s to 24 h/],
    [create(ShutdownSchema, { goneAfter: durationFromMs(86_400_001) }), /gone_after/],
  ] as [Shutdown, RegExp][])('%#: refuses a payload that is not right', async (shutdown, message) => {
    expect(() => shutdownRequest(shutdown)).toThrow(message);
    const { agentTask } = await serverPart.create(undefined, { agentTasks: createMemoryStore().agentTasks });
    expect(() => agentTask!.check(anyPack(ShutdownSchema, shutdown))).toThrow(message);
  });

  test('refuses a message of another type', async () => {
    const { agentTask } = await serverPart.create(undefined, { agentTasks: createMemoryStore().agentTasks });
    expect(() => agentTask!.check(anyPack(EmptySchema, create(EmptySchema)))).toThrow(/allowed: a drover.shutdown.v1/);
  });
});
