import { create } from '@bufbuild/protobuf';
import { anyPack, EmptySchema } from '@bufbuild/protobuf/wkt';
import { JobSubmissionSchema } from '@drover/control-api';
import { createJobSubmitter, registerControlService, type JobSubmitter } from '@drover/control-service';
import { agentActsForItself, createLeaseServer } from '@drover/lease-server';
import type { AttemptStore, DroverStore, JobStore } from '@drover/lease-store';
import { createPostgresStore } from '@drover/lease-store-postgres';
import { LeaseService } from '@drover/lease-protocol';
import { registerLeaseService } from '@drover/lease-transport';
import { createRpcHost, principalFrom } from '@drover/rpc-host';
import { createQueueTaskSource } from '@drover/task-sources';
import type { HandlerContext } from '@connectrpc/connect';
import { serveParent } from '../child-process.ts';
import { agentIdHeader } from '../agent-id-header.ts';
import { monotonicMs } from '../monotonic-ms.ts';
import { handInMany } from '../measure-latency.ts';
import { NotedMoments } from '../noted-moments.ts';
import { benchSource } from '../noop-lease-type.ts';
import { processUse, type ProcessUse } from '../process-use.ts';
import { quietPool } from '../quiet-pool.ts';

/** How the server of a benchmark runs. */
export interface DroverServerStart {
  readonly databaseUrl: string;
  /** Most connections to the database. */
  readonly connections: number;
  /** 0: a free one. */
  readonly port: number;
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Notes when submissions and ends were committed. */
  readonly keepsTimes: boolean;
}

/** What is known of a lease that a submission stored. */
export interface StoredLease {
  readonly leaseId: string;
  /** The statement that stored it has answered, in ms of the machine's monotonic clock. */
  readonly atMs: number;
  /** It was stored with its first attempt already bound to an agent. */
  readonly boundAtOnce: boolean;
}

/** What the server of a benchmark answers. */
export type DroverServerMethods = typeof methods;

let lastStored: StoredLease | undefined;
const endStored = new NotedMoments();
const running = new AsyncDisposableStack();
let submitter: JobSubmitter | undefined;
let status: (() => ReturnType<ReturnType<typeof createLeaseServer>['status']>) | undefined;

/** Composes the server as `apps/server` does, without the content store and the job lease type. */
async function start(options: DroverServerStart): Promise<{ readonly url: string }> {
  const { databaseUrl, connections, port, tls, keepsTimes } = options;
  const pool = quietPool(databaseUrl, connections);
  running.defer(() => pool.end());
  const opened = running.use(createPostgresStore({ pool }));
  const store = keepsTimes ? withTimes(opened) : opened;
  const source = createQueueTaskSource({ name: benchSource }, { queue: store.queue, signals: store.signals });
  const server = running.use(createLeaseServer({}, { store, sources: [source], authorizeAgent: agentActsForItself }));
  status = () => server.status();
  submitter = createJobSubmitter({ store, planners: [], placement: server.placement });
  const principalOf = (context: HandlerContext) => principalFrom(context.values);
  const host = running.use(
    createRpcHost(
      { host: '127.0.0.1', port, tls },
      {
        principalOf: ({ service, header }) => {
          const id = header.get(agentIdHeader);
          if (service === LeaseService.typeName) return id === null ? undefined : { kind: 'agent', id };
          return { kind: 'user', id: 'bench' };
        },
        routes(router) {
          registerLeaseService(router, { endpoint: server.endpoint, principalOf });
          registerControlService(router, { store, planners: [], placement: server.placement, principalOf });
        },
      },
    ),
  );
  await server.start();
  await host.start();
  running.defer(() => server.stop({ graceMs: 1_000 }));
  return { url: host.url };
}

/** Looks at the clock when the store has answered, and changes nothing. */
function withTimes(store: DroverStore): DroverStore {
  const jobs: JobStore = {
    ...store.jobs,
    async submit(drafts, context) {
      const answer = await store.jobs.submit(drafts, context);
      const atMs = monotonicMs();
      const bound = new Set(answer.assigned.map(({ leaseId }) => leaseId));
      for (const { leases } of drafts) {
        for (const { draft } of leases) {
          lastStored = { leaseId: draft.leaseId, atMs, boundAtOnce: bound.has(draft.leaseId) };
        }
      }
      return answer;
    },
  };
  const attempts: AttemptStore = {
    ...store.attempts,
    async record(writes, context) {
      const results = await store.attempts.record(writes, context);
      const atMs = monotonicMs();
      for (const write of writes) if (write.kind === 'end') endStored.add(write.leaseId, true, atMs);
      return results;
    },
  };
  return { ...store, jobs, attempts };
}

const submission = create(JobSubmissionSchema, { name: 'noop', payload: anyPack(EmptySchema, create(EmptySchema)) });

/** Submits in this process, as a service does that mounts the server. */
const submitOne = (): Promise<readonly string[]> =>
  submitter!.submit([submission], { principal: { kind: 'service', id: 'bench' } });

/** Submits one and answers when the end is stored that is the `count`th since the process started. */
async function runOne(count: number): Promise<{ readonly callMs: number; readonly stored: StoredLease }> {
  const callMs = monotonicMs();
  await submitOne();
  await endStored.reached(count);
  return { callMs, stored: lastStored! };
}

const methods = {
  start,
  status: () => status?.(),
  runOne,
  async warmUp({ count, clients }: { readonly count: number; readonly clients: number }) {
    await handInMany(count, clients, submitOne);
    await endStored.reached(count);
  },
  /** What was submitted last. */
  lastStored: () => lastStored!,
  endsReached: (count: number) => endStored.reached(count),
  takeEnds: () => endStored.takeTimes(),
  use: (options: { readonly collectsGarbage: boolean }): Promise<ProcessUse> => processUse(options),
};

serveParent(methods, () => running.disposeAsync());
