import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { EmptySchema } from '@bufbuild/protobuf/wkt';
import { createLeaseAgent } from '@drover/lease-agent';
import type { LeaseHandler } from '@drover/lease-kit';
import { createLeaseClient } from '@drover/lease-transport';
import { agentIdHeader } from '../agent-id-header.ts';
import { serveParent } from '../child-process.ts';
import { noopLeaseType } from '../noop-lease-type.ts';
import { NotedMoments } from '../noted-moments.ts';

/** How the agent of a benchmark runs. */
export interface DroverAgentStart {
  readonly url: string;
  readonly agentId: string;
  readonly leasesMax: number;
  /** Notes when each handler started. */
  readonly keepsTimes: boolean;
}

/** What the agent of a benchmark answers. */
export type DroverAgentMethods = typeof methods;

const running = new AsyncDisposableStack();
const started = new NotedMoments();

async function start({ url, agentId, leasesMax, keepsTimes }: DroverAgentStart): Promise<void> {
  const stateDir = await mkdtemp(join(tmpdir(), 'drover-bench-agent-'));
  running.defer(() => rm(stateDir, { recursive: true, force: true }));
  const handler: LeaseHandler<typeof EmptySchema, typeof EmptySchema> = {
    type: noopLeaseType,
    async run(_payload, { leaseId }) {
      started.add(leaseId, keepsTimes);
      return { kind: 'completed', output: create(EmptySchema) };
    },
  };
  const client = createLeaseClient({ baseUrl: url, headers: { [agentIdHeader]: agentId } });
  running.use(client);
  const agent = createLeaseAgent({ stateDir, agentId, leasesMax }, { client, handlers: [handler as LeaseHandler] });
  running.use(agent);
  await agent.start();
}

const methods = {
  start,
  reached: (count: number) => started.reached(count),
  startedCount: () => started.count,
  takeStarts: () => started.takeTimes(),
};

serveParent(methods, () => running.disposeAsync());
