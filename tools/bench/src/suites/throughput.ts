import { startBenchPostgres, type BenchPostgres } from '../bench-postgres.ts';
import { startDroverSystem } from '../drover-system.ts';
import {
  describeGraphile,
  graphileDefault,
  graphileTunedCandidates,
  type GraphileConfiguration,
} from '../graphile-configuration.ts';
import { graphileVersion, startGraphilePeer } from '../graphile-peer.ts';
import type { LifecycleSystem } from '../lifecycle-system.ts';
import { clientCount, measureLifecycles, type EnqueueMode, type LifecycleSample } from '../measure-lifecycles.ts';
import { median, rounded } from '../statistics.ts';
import type { Suite, SuiteContext, SuiteResult } from '../suite.ts';

/** Leases that Drover's agent holds at once: the counterpart of the jobs that the tuned peer fetches ahead. */
const leasesMax = 500;
const serverConnections = 10;

type Contender = 'drover' | 'peer_default' | 'peer_tuned';
type Start = (databaseUrl: string) => Promise<LifecycleSystem>;
interface Measured extends LifecycleSample {
  /** All commits of the database, those that only read included; only where they were waited for. */
  readonly commitsEach?: number;
}

/** Whole lifecycles a second, beside graphile-worker. */
export const throughputSuite: Suite = {
  name: 'throughput',
  about: 'whole lease lifecycles a second: enqueue, assign, run in another process, persist the completion',
  run,
};

async function run(context: SuiteContext): Promise<SuiteResult> {
  const { say, signal, quick } = context;
  const modes: readonly EnqueueMode[] = [
    { name: 'single', perStatement: 1, count: quick ? 500 : 10_000 },
    { name: 'batched', perStatement: 100, count: quick ? 2_000 : 30_000 },
  ];
  const rounds = quick ? 1 : 3;
  await using postgres = await startBenchPostgres(signal);
  const version = await graphileVersion();
  say(`Postgres ${postgres.version}, embedded: ${JSON.stringify(postgres.settings)}`);
  say(
    `Drover: 1 server process (${serverConnections} connections), 1 agent process (holds up to ${leasesMax} leases), ` +
      `${clientCount} clients that call LeaseQueue.enqueue, each on a connection of its own`,
  );
  say(`Peer as it comes: ${describeGraphile(version, graphileDefault)}`);
  say(`Peer's clients: ${clientCount}, addJob for one a statement, addJobs for batches`);

  const best = await bestOfPeer(context, postgres, modes);
  const bench = new Bench(postgres, say);
  for (let round = 1; round <= rounds; round += 1) {
    signal.throwIfAborted();
    const isLast = round === rounds;
    for (const mode of modes) {
      const contenders: [Contender, Start][] = [
        ['drover', startDrover],
        ['peer_default', startPeer(graphileDefault)],
        ['peer_tuned', startPeer(best[mode.name])],
      ];
      // In turn, each first once: what the machine does over time falls on all alike.
      for (let turn = 0; turn < contenders.length; turn += 1) {
        const [contender, start] = contenders[(turn + round - 1) % contenders.length]!;
        await bench.measure(contender, mode, start, isLast && !quick);
      }
    }
  }
  say(
    'Share of the work on the measured path (handler ran in the other process, once, and completed): ' +
      [...bench.samples]
        .map(([key, samples]) => `${key} ${Math.min(...samples.map((s) => s.measuredShare))}`)
        .join(', '),
  );
  return result(bench, modes);
}

class Bench {
  readonly samples = new Map<string, Measured[]>();
  readonly #postgres: BenchPostgres;
  readonly #say: (text: string) => void;
  #databases = 0;

  constructor(postgres: BenchPostgres, say: (text: string) => void) {
    this.#postgres = postgres;
    this.#say = say;
  }

  async measure(contender: Contender, mode: EnqueueMode, start: Start, countsCommits: boolean): Promise<void> {
    const database = `bench_${(this.#databases += 1)}`;
    const databaseUrl = await this.#postgres.createDatabase(database);
    let commitsBefore = 0;
    let sample: LifecycleSample;
    {
      await using system = await start(databaseUrl);
      sample = await measureLifecycles(this.#postgres, system, mode, async () => {
        if (countsCommits) commitsBefore = await this.#postgres.settledCommits(database);
      });
    }
    // Backends have told their counts when they ended.
    const measured: Measured = countsCommits
      ? { ...sample, commitsEach: ((await this.#postgres.commits(database)) - commitsBefore) / mode.count }
      : sample;
    const key = `${contender}/${mode.name}`;
    this.samples.set(key, [...(this.samples.get(key) ?? []), measured]);
    this.#say(
      `sample ${key}: ${JSON.stringify(measured, (_, value) => (typeof value === 'number' ? rounded(value) : value))}`,
    );
  }

  medianOf(contender: Contender, mode: string, field: keyof Measured): number | undefined {
    const values = (this.samples.get(`${contender}/${mode}`) ?? []).flatMap((sample) => sample[field] ?? []);
    return values.length === 0 ? undefined : median(values);
  }
}

const startDrover: Start = (databaseUrl) =>
  startDroverSystem({ databaseUrl, clients: clientCount, agents: 1, leasesMax, serverConnections, keepsTimes: false });

function startPeer(configuration: GraphileConfiguration): Start {
  return (databaseUrl) => startGraphilePeer({ databaseUrl, configuration, clients: clientCount, keepsTimes: false });
}

/** Tries the peer's tuned configurations once each and takes the fastest, for each mode on its own. */
async function bestOfPeer(
  { say, signal, quick }: SuiteContext,
  postgres: BenchPostgres,
  modes: readonly EnqueueMode[],
) {
  const best: Record<EnqueueMode['name'], GraphileConfiguration> = {
    single: graphileTunedCandidates[0]!,
    batched: graphileTunedCandidates[0]!,
  };
  const version = await graphileVersion();
  for (const mode of modes) {
    let fastest = 0;
    for (const [index, configuration] of graphileTunedCandidates.entries()) {
      if (quick && index > 0) break;
      signal.throwIfAborted();
      const databaseUrl = await postgres.createDatabase(`tune_${mode.name}_${index}`);
      await using system = await startPeer(configuration)(databaseUrl);
      const { perSecond } = await measureLifecycles(postgres, system, mode, () => Promise.resolve());
      say(
        `tuning the peer, ${mode.name}: ${rounded(perSecond)} jobs/s with ${describeGraphile(version, configuration)}`,
      );
      if (perSecond <= fastest) continue;
      fastest = perSecond;
      best[mode.name] = configuration;
    }
    say(`Peer tuned, ${mode.name}: ${describeGraphile(version, best[mode.name])}`);
  }
  return best;
}

function result(bench: Bench, modes: readonly EnqueueMode[]): SuiteResult {
  const figures: Record<string, number> = {};
  const ratios: Record<string, number> = {};
  const put = (name: string, value: number | undefined): void => {
    if (value !== undefined) figures[name] = rounded(value);
  };
  for (const { name } of modes) {
    for (const contender of ['drover', 'peer_default', 'peer_tuned'] as const) {
      put(`${contender}_lifecycles_per_s_${name}`, bench.medianOf(contender, name, 'perSecond'));
      const of = contender === 'drover' ? '' : `${contender}_`;
      const each = contender === 'drover' ? 'lease' : 'job';
      put(`${of}wal_bytes_per_${each}_${name}`, bench.medianOf(contender, name, 'walBytesEach'));
      put(`${of}commits_per_${each}_${name}`, bench.medianOf(contender, name, 'commitsEach'));
      put(`${of}write_commits_per_${each}_${name}`, bench.medianOf(contender, name, 'writeCommitsEach'));
    }
    const drover = bench.medianOf('drover', name, 'perSecond')!;
    ratios[`lifecycles_per_s_default_${name}`] = rounded(drover / bench.medianOf('peer_default', name, 'perSecond')!);
    ratios[`lifecycles_per_s_tuned_${name}`] = rounded(drover / bench.medianOf('peer_tuned', name, 'perSecond')!);
  }
  // Without a mode: the worse of the two.
  for (const name of ['wal_bytes_per_lease', 'commits_per_lease']) {
    const values = modes.flatMap((mode) => figures[`${name}_${mode.name}`] ?? []);
    if (values.length > 0) figures[name] = Math.max(...values);
  }
  for (const name of ['lifecycles_per_s_default', 'lifecycles_per_s_tuned']) {
    ratios[name] = Math.min(...modes.map((mode) => ratios[`${name}_${mode.name}`]!));
  }
  return { suite: 'throughput', figures, ratios };
}
