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
import { measureLatency, type LatencySample, type LatencySystem } from '../measure-latency.ts';
import { rounded, summarize } from '../statistics.ts';
import type { Suite, SuiteContext, SuiteResult } from '../suite.ts';

const leasesMax = 24;
const serverConnections = 10;

/** From the commit of new work to its handler's start and to its persisted result, beside graphile-worker. */
export const assignmentSuite: Suite = {
  name: 'assignment',
  about: "from a new lease's commit to its handler's start in another process, and to the persisted result",
  run,
};

const contenders = ['drover', 'drover_sql', 'peer_default', 'peer_tuned'] as const;
type Contender = (typeof contenders)[number];

async function run({ say, signal, quick }: SuiteContext): Promise<SuiteResult> {
  const rounds = quick ? 1 : 4;
  const counts = quick ? { warmUp: 20, measured: 50 } : { warmUp: 200, measured: 400 };
  await using postgres = await startBenchPostgres(signal);
  const version = await graphileVersion();
  say(`Postgres ${postgres.version}, embedded: ${JSON.stringify(postgres.settings)}`);
  say(
    `Work is handed in one piece at a time, each after the one before has ended and rested; ${rounds} rounds in turn, ` +
      `${counts.warmUp} pieces to warm up and ${counts.measured} measured in each.`,
  );
  say(`Drover: 1 server process (${serverConnections} connections), 1 agent process (holds up to ${leasesMax} leases)`);
  say(
    "  drover: JobService.SubmitJobs over RPC, the product's way; the server binds to the waiting agent in one commit",
  );
  say('  drover_sql: LeaseQueue.enqueue by another process, NOTIFY, claim');
  say(`Peer as it comes (peer_default): ${describeGraphile(version, graphileDefault)}; addJob`);
  say(`Peer with batching (peer_tuned): ${describeGraphile(version, graphileDocumentedBest)}; addJob`);
  say(
    'Commit: the moment at which the process that ran the statement saw it answered: the server for drover, the client ' +
      'for drover_sql and the peer. Call: just before the client called, for all. Nothing is clamped.',
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
  drover: async (databaseUrl) => submitting(await startDrover(databaseUrl)),
  drover_sql: async (databaseUrl) => enqueueing(await startDrover(databaseUrl)),
  peer_default: (databaseUrl) => startPeer(databaseUrl, graphileDefault),
  peer_tuned: (databaseUrl) => startPeer(databaseUrl, graphileDocumentedBest),
};

function startDrover(databaseUrl: string): Promise<DroverSystem> {
  return startDroverSystem({ databaseUrl, clients: 1, agents: 1, leasesMax, serverConnections, keepsTimes: true });
}

/** Drover's clients submit jobs over RPC. */
function submitting(system: DroverSystem): LatencySystem {
  const sessionManager = new Http2SessionManager(system.url);
  const jobs = createClient(
    JobService,
    createConnectTransport({ baseUrl: system.url, httpVersion: '2', sessionManager }),
  );
  const payload = anyPack(EmptySchema, create(EmptySchema));
  return {
    async handIn() {
      const { jobIds } = await jobs.submitJobs({ jobs: [{ name: 'noop', payload }] });
      return jobIds[0]!;
    },
    endsReached: (count) => system.server.call('endsReached', count),
    async takeMoments() {
      const stored = await system.server.call('takeStored');
      return {
        starts: await system.agents[0]!.call('takeStarts'),
        ends: await system.server.call('takeEnds'),
        stored: stored.map(({ jobId, leaseId, atMs, boundAtOnce }) => ({
          handedIn: jobId,
          id: leaseId,
          atMs,
          onPath: boundAtOnce,
        })),
      };
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
    handIn: async () => (await system.enqueue(1))[0]!,
    endsReached: (count) => system.server.call('endsReached', count),
    takeMoments: async () => ({
      starts: await system.agents[0]!.call('takeStarts'),
      ends: await system.server.call('takeEnds'),
    }),
    [Symbol.asyncDispose]: () => system[Symbol.asyncDispose](),
  };
}

async function startPeer(databaseUrl: string, configuration: GraphileConfiguration): Promise<LatencySystem> {
  const peer = await startGraphilePeer({ databaseUrl, configuration, clients: 1, keepsTimes: true });
  const worker = peer.workers[0]!;
  return {
    handIn: async () => (await peer.enqueue(1))[0]!,
    endsReached: (count) => worker.call('endsReached', count),
    takeMoments: async () => ({ starts: await worker.call('takeStarts'), ends: await worker.call('takeEnds') }),
    [Symbol.asyncDispose]: () => peer[Symbol.asyncDispose](),
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
  for (const share of ['p50', 'p99'] as const) {
    ratios[`sql_start_${share}`] = rounded(
      of('drover_sql', 'commitToStartMs')[share] / of(peer, 'commitToStartMs')[share],
    );
  }
  return { suite: 'assignment', figures, ratios };
}

function raw(samples: readonly LatencySample[], field: (typeof fields)[number][1]): string {
  return samples.map((sample) => sample[field].toFixed(2)).join(' ');
}
