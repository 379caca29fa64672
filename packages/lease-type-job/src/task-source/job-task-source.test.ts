import { create } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { taskSourceCompliance } from '@drover/lease-kit/testing';
import { AgentDescriptionSchema } from '@drover/lease-protocol';
import { createMemoryStore } from '@drover/lease-store';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'vitest';
import { BatchSchema, JobSchema } from '../gen/drover/job/v1/job_pb.ts';
import { jobPlanner } from '../job-planner.ts';
import { createJobTaskSource } from './job-task-source.ts';

const context = { principal: { kind: 'service', id: 'test' } } as const;
const job = anyPack(JobSchema, create(JobSchema, { batches: [{ name: 'b', steps: [{ name: 's', exe: 'true' }] }] }));

taskSourceCompliance({
  describe,
  test,
  async make() {
    const store = createMemoryStore();
    const source = createJobTaskSource({ queue: store.queue, signals: store.signals });
    const stopWaking = source.onWork?.(() => undefined);
    return {
      source,
      async agent(agentId) {
        const { epoch } = await store.sessions.openSession(
          {
            agentId,
            sessionId: randomUUID(),
            serverId: 'server',
            instanceNonce: randomUUID(),
            description: create(AgentDescriptionSchema, { resources: { cores: 8n }, leasesMax: 8 }),
            proven: [],
          },
          context,
        );
        return {
          agentId,
          epoch,
          properties: new Map(),
          pools: [],
          resourcesTotal: { cores: 8 },
          resourcesFree: { cores: 8 },
          leasesFree: 8,
          idle: true,
          payloadTypes: [BatchSchema.typeName],
        };
      },
      async giveWork(count) {
        const [lease] = jobPlanner.plan(job);
        const drafts = Array.from({ length: count }, () => ({
          draft: { ...lease!, leaseId: randomUUID(), source: jobPlanner.source, priority: 0 },
        }));
        await store.queue.enqueue(drafts, context);
        store.signals.announce({ kind: 'work', source: jobPlanner.source });
      },
      async [Symbol.asyncDispose]() {
        stopWaking?.();
        await store.close();
      },
    };
  },
});
