import { create } from '@bufbuild/protobuf';
import { anyPack, EmptySchema } from '@bufbuild/protobuf/wkt';
import { createClient } from '@connectrpc/connect';
import { createConnectTransport, Http2SessionManager } from '@connectrpc/connect-node';
import { JobService } from '@drover/control-api';
import { startBenchPostgres } from '../bench-postgres.ts';
import { startDroverSystem, type DroverSystem } from '../drover-system.ts';
import {
  describeGraphile,
  graphileDefault,
  graphileDocumentedBest,
  type GraphileConfiguration,
} from '../graphile-configuration.ts';
import { graphileVersion, startGraphilePeer } from '../graphile-peer.ts';
import { handInMany, measureLatency, type LatencySample, type LatencySystem } from '../measure-latency.ts';
import { monotonicMs } from '../monotonic-ms.ts';
import { rounded, summarize } from '../statistics.ts';
import type { Suite, SuiteContext, SuiteResult } from '../suite.ts';

const leasesMax = 24;
const serverConnections = 10;
/** Clients that hand in work at the same time before anything is measured. */
const warmUpClients = 8;

/** From the commit of new work to its handler's start and to its persisted result, beside graphile-worker. */
export const assignmentSuite: Suite = {
  name: 'assignment',
  about: "from a new lease's commit to its handler's start in another process, and to the persisted result",
  run,
};

const contenders = ['drover', 'drover_rpc', 'drover_sql', 'peer_default', 'peer_tuned'] as const;
type Contender = (typeof contenders)[number];

async function run({ say, signal, quick }: SuiteContext): Promise<SuiteResult> {
  const rounds = quick ? 1 : 4;
  const counts = quick ? { warmUp: 100, settle: 10, measured: 50 } : { warmUp: 4_000, settle: 100, measured: 400 };
  await using postgres = await startBenchPostgres(signal);
  const version = await graphileVersion();
  say(`Postgres ${postgres.version}, embedded: ${JSON.stringify(postgres.settings)}`);
  say(
    `Work is handed in one piece at a time, each after the one before has ended and rested; ${rounds} rounds in turn, ` +
      `in each ${counts.warmUp} pieces by ${warmUpClients} clients to warm up, ${counts.settle} more to settle, ` +
      `${counts.measured} measured.`,
  );
  say(`Drover: 1 server process (${serverConnections} connections), 1 agent process (holds up to ${leasesMax} leases)`);
  say(
    '  drover: a service that mounts the server submits in its own process, as addJob is called in its; the server binds ' +
      'to the waiting agent in the commit that stores the lease',
  );
  say('  drover_rpc: the same by JobService.SubmitJobs, from another process');
  say('  drover_sql: LeaseQueue.enqueue by another process, NOTIFY, claim');
  say(`Peer as it comes (peer_default): ${describeGraphile(version, graphileDefault)}; addJob`);
  say(`Peer with batching (peer_tuned): ${describeGraphile(version, graphileDocumentedBest)}; addJob`);
  say(
    'Commit: the moment at which the process that ran the statement saw it answered: the server for drover and drover_rpc, ' +
      'the client for drover_sql and the peer. Call: just before the client called, for all. Nothing is clamped.',
  );

  const samples = new Map<Contender, LatencySample[]>(contenders.map((name) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (let turn = 0; turn < contenders.length; turn += 1) {
      signal.throwIfAborted();
      const contender = contenders[(turn + round) % contenders.length]!;
      const databaseUrl = await postgres.createDatabase(`bench_${contender}_${round}`);
      await using system = await starts[contender](databaseUrl);
      await postgres.checkpoint();
      const measured = await measureLatency(system, counts, signal);
      samples.get(contender)!.push(...measured);
      say(`samples ${contender}, round ${round + 1}, commit to start, ms: ${raw(measured, 'commitToStartMs')}`);
      say(`samples ${contender}, round ${round + 1}, call to start, ms: ${raw(measured, 'callToStartMs')}`);
      say(`samples ${contender}, round ${round + 1}, commit to persisted end, ms: ${raw(measured, 'commitToEndMs')}`);
    }
  }
  return result(samples, say);
}

const starts: Readonly<Record<Contender, (databaseUrl: string) => Promise<LatencySystem>>> = {
  drover: async (databaseUrl) => embedding(await startDrover(databaseUrl)),
  drover_rpc: async (databaseUrl) => submitting(await startDrover(databaseUrl)),
  drover_sql: async (databaseUrl) => enqueueing(await startDrover(databaseUrl)),
  peer_default: (databaseUrl) => startPeer(databaseUrl, graphileDefault),
  peer_tuned: (databaseUrl) => startPeer(databaseUrl, graphileDocumentedBest),
};

function startDrover(databaseUrl: string): Promise<DroverSystem> {
  return startDroverSystem({
    databaseUrl,
    clients: warmUpClients,
    agents: 1,
    leasesMax,
    serverConnections,
    keepsTimes: true,
  });
}

/** A service that has mounted the server submits in its own process. */
function embedding({ server, agents, ...system }: DroverSystem): LatencySystem {
  return {
    warmUp: (count) => server.call('warmUp', { count, clients: warmUpClients }),
    async runOne(count) {
      const { callMs, stored } = await server.call('runOne', count);
      return { id: stored.leaseId, callMs, commitMs: stored.atMs, onPath: stored.boundAtOnce };
    },
    takeMoments: async () => ({
      starts: await agents[0]!.call('takeStarts'),
      ends: await server.call('takeEnds'),
    }),
    [Symbol.asyncDispose]: () => system[Symbol.asyncDispose](),
  };
}

/** Clients in another process submit over RPC. */
function submitting(system: DroverSystem): LatencySystem {
  const { server } = system;
  const sessionManager = new Http2SessionManager(system.url);
  const jobs = createClient(
    JobService,
    createConnectTransport({ baseUrl: system.url, httpVersion: '2', sessionManager }),
  );
  const payload = anyPack(EmptySchema, create(EmptySchema));
  const submit = () => jobs.submitJobs({ jobs: [{ name: 'noop', payload }] });
  return {
    ...embedding(system),
    async warmUp(count) {
      await handInMany(count, warmUpClients, submit);
      await server.call('endsReached', count);
    },
    async runOne(count) {
      const ended = server.call('endsReached', count);
      const callMs = monotonicMs();
      await submit();
      await ended;
      const stored = await server.call('lastStored');
      return { id: stored.leaseId, callMs, commitMs: stored.atMs, onPath: stored.boundAtOnce };
    },
    async [Symbol.asyncDispose]() {
      sessionManager.abort();
      await system[Symbol.asyncDispose]();
    },
  };
}

/** Leases are enqueued in SQL by another process than the server. */
function enqueueing(system: DroverSystem): LatencySystem {
  return {
    ...embedding(system),
    ...librarySide(
      () => system.enqueue(1),
      (count) => system.server.call('endsReached', count),
    ),
  };
}

async function startPeer(databaseUrl: string, configuration: GraphileConfiguration): Promise<LatencySystem> {
  const peer = await startGraphilePeer({ databaseUrl, configuration, clients: warmUpClients, keepsTimes: true });
  const worker = peer.workers[0]!;
  return {
    ...librarySide(
      () => peer.enqueue(1),
      (count) => worker.call('endsReached', count),
    ),
    takeMoments: async () => ({ starts: await worker.call('takeStarts'), ends: await worker.call('takeEnds') }),
    [Symbol.asyncDispose]: () => peer[Symbol.asyncDispose](),
  };
}

/** A client in this process runs the statement itself. */
function librarySide(
  enqueueOne: () => Promise<readonly string[]>,
  endsReached: (count: number) => Promise<void>,
): Pick<LatencySystem, 'warmUp' | 'runOne'> {
  return {
    async warmUp(count) {
      await handInMany(count, warmUpClients, enqueueOne);
      await endsReached(count);
    },
    async runOne(count) {
      const ended = endsReached(count);
      const callMs = monotonicMs();
      const [id] = await enqueueOne();
      const commitMs = monotonicMs();
      await ended;
      return { id: id!, callMs, commitMs, onPath: true };
    },
  };
}

const fields = [
  ['start', 'commitToStartMs'],
  ['start_from_call', 'callToStartMs'],
  ['end', 'commitToEndMs'],
  ['end_from_call', 'callToEndMs'],
] as const;

function result(samples: ReadonlyMap<Contender, readonly LatencySample[]>, say: (text: string) => void): SuiteResult {
  const figures: Record<string, number> = {};
  const ratios: Record<string, number> = {};
  const of = (contender: Contender, field: (typeof fields)[number][1]) =>
    summarize(samples.get(contender)!.map((sample) => sample[field]));
  for (const contender of contenders) {
    for (const [name, field] of fields) {
      const { p50, p99 } = of(contender, field);
      figures[`${contender}_${name}_p50_ms`] = rounded(p50);
      figures[`${contender}_${name}_p99_ms`] = rounded(p99);
    }
    const all = samples.get(contender)!;
    const share = all.filter(({ onPath }) => onPath).length / all.length;
    figures[`${contender}_samples`] = all.length;
    figures[`${contender}_measured_path_share`] = rounded(share);
  }
  // The peer's better configuration, whichever that is, by its own middle value.
  const peer =
    of('peer_tuned', 'commitToStartMs').p50 < of('peer_default', 'commitToStartMs').p50 ? 'peer_tuned' : 'peer_default';
  say(`Ratios are those of drover over ${peer}, the faster of the peer's two configurations.`);
  for (const [name, field] of fields) {
    for (const share of ['p50', 'p99'] as const) {
      ratios[`${name}_${share}`] = rounded(of('drover', field)[share] / of(peer, field)[share]);
    }
  }
  for (const way of ['rpc', 'sql'] as const) {
    for (const share of ['p50', 'p99'] as const) {
      ratios[`${way}_start_${share}`] = rounded(
        of(`drover_${way}`, 'commitToStartMs')[share] / of(peer, 'commitToStartMs')[share],
      );
    }
  }
  return { suite: 'assignment', figures, ratios };
}

function raw(samples: readonly LatencySample[], field: (typeof fields)[number][1]): string {
  return samples.map((sample) => sample[field].toFixed(2)).join(' ');
}
