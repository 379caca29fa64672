import { setTimeout as sleep } from 'node:timers/promises';
import { migrate } from '@drover/lease-store-postgres';
import { startBenchPostgres, type BenchPostgres } from '../bench-postgres.ts';
import { startChild, type Child } from '../child-process.ts';
import type { DroverServerMethods } from '../children/drover-server.ts';
import type { FleetAgentsMethods } from '../children/fleet-agents.ts';
import { quietPool } from '../quiet-pool.ts';
import { createSelfSignedCertificate, type SelfSignedCertificate } from '../self-signed-certificate.ts';
import { rounded } from '../statistics.ts';
import type { Suite, SuiteContext, SuiteResult } from '../suite.ts';

const serverConnections = 10;
/** Processes that hold the agents: the server is measured alone. */
const agentProcesses = 2;
const arriveMsMax = 240_000;

/** Thousands of idle agents on one server process. */
export const fleetSuite: Suite = {
  name: 'fleet',
  about: '5,000 idle agents on one server process: memory, processor time, database writes, coming back after a crash',
  run,
};

interface FleetFigures {
  readonly rssKbPerAgent: number;
  readonly cpuMsPerAgentMinute: number;
  readonly idleCpuMsPerMinute: number;
  readonly dbWritesPerHeartbeat: number;
  readonly livenessWrites: number;
  readonly heartbeats: number;
  readonly reconnectStormS: number;
}

async function run({ say, signal, quick }: SuiteContext): Promise<SuiteResult> {
  const agents = quick ? 100 : 5_000;
  await using postgres = await startBenchPostgres(signal);
  say(`Postgres ${postgres.version}, embedded: ${JSON.stringify(postgres.settings)}`);
  say(
    `${agents} agents in ${agentProcesses} processes, each a lease-agent with a lease-transport client, an HTTP/2 connection ` +
      'and an open stream of its own; 1 server process; heartbeats every 20 s, as it comes. There is no peer in this suite.',
  );
  const plain = await measureFleet({
    say,
    signal,
    postgres,
    agents,
    database: 'plain',
    windowMs: quick ? 25_000 : 60_000,
  });
  const tls = await measureFleet({
    say,
    signal,
    postgres,
    agents,
    database: 'tls',
    windowMs: quick ? 25_000 : 60_000,
    certificate: createSelfSignedCertificate(),
  });
  return {
    suite: 'fleet',
    figures: {
      agents,
      rss_kb_per_agent: rounded(plain.rssKbPerAgent),
      rss_kb_per_agent_tls: rounded(tls.rssKbPerAgent),
      cpu_ms_per_agent_minute: rounded(plain.cpuMsPerAgentMinute),
      cpu_ms_per_agent_minute_tls: rounded(tls.cpuMsPerAgentMinute),
      server_cpu_ms_per_minute_without_agents: rounded(plain.idleCpuMsPerMinute),
      heartbeats: plain.heartbeats,
      db_writes_per_heartbeat: rounded(plain.dbWritesPerHeartbeat),
      db_writes_per_heartbeat_tls: rounded(tls.dbWritesPerHeartbeat),
      server_liveness_writes: plain.livenessWrites,
      reconnect_storm_s: rounded(plain.reconnectStormS),
      reconnect_storm_s_tls: rounded(tls.reconnectStormS),
    },
    ratios: {},
  };
}

interface FleetMeasurement extends Pick<SuiteContext, 'say' | 'signal'> {
  readonly postgres: BenchPostgres;
  readonly agents: number;
  readonly database: string;
  /** Longer than the heartbeat interval. */
  readonly windowMs: number;
  readonly certificate?: SelfSignedCertificate;
}

async function measureFleet(measurement: FleetMeasurement): Promise<FleetFigures> {
  const { say, signal, postgres, agents, database, windowMs, certificate } = measurement;
  const databaseUrl = await postgres.createDatabase(`fleet_${database}`);
  await using started = new AsyncDisposableStack();
  const looking = quietPool(databaseUrl, 1);
  started.defer(() => looking.end());
  await migrate(looking);
  const startServer = async (port: number): Promise<{ server: Child<DroverServerMethods>; url: string }> => {
    const server = startChild<DroverServerMethods>({
      entry: new URL('../children/drover-server.ts', import.meta.url),
      nodeFlags: ['--expose-gc'],
    });
    started.use(server);
    const { url } = await server.call('start', {
      databaseUrl,
      connections: serverConnections,
      port,
      keepsTimes: false,
      ...(certificate === undefined ? {} : { tls: certificate }),
    });
    return { server, url };
  };

  const { server, url } = await startServer(0);
  const idle = await server.call('use', { collectsGarbage: true });
  await sleep(10_000, undefined, { signal });
  const idleLater = await server.call('use', { collectsGarbage: false });
  const idleCpuMsPerMinute = (idleLater.cpuMs - idle.cpuMs) * 6;

  const fleet = Array.from({ length: agentProcesses }, () =>
    started.use(startChild<FleetAgentsMethods>({ entry: new URL('../children/fleet-agents.ts', import.meta.url) })),
  );
  const share = Math.ceil(agents / agentProcesses);
  const arriving = performance.now();
  await Promise.all(
    fleet.map((part, index) =>
      part.call('start', {
        url,
        idPrefix: `agent-${index}`,
        count: Math.min(share, agents - index * share),
        ...(certificate === undefined ? {} : { ca: certificate.cert }),
      }),
    ),
  );
  await allLinked(server, agents, signal);
  say(`${database}: ${agents} agents arrived in ${((performance.now() - arriving) / 1_000).toFixed(1)} s`);

  // What the arrival left is written and let go before anything is counted.
  await sleep(11_000, undefined, { signal });
  const loaded = await server.call('use', { collectsGarbage: true });
  const writesBefore = await writesOf(looking);
  for (const part of fleet) await part.call('takeSent');
  const before = await server.call('use', { collectsGarbage: false });
  await sleep(windowMs, undefined, { signal });
  const after = await server.call('use', { collectsGarbage: false });
  const sent = await Promise.all(fleet.map((part) => part.call('takeSent')));
  // Backends tell what they wrote within 10 s of idleness.
  await sleep(11_000, undefined, { signal });
  const writesAfter = await writesOf(looking);
  const heartbeats = sent.reduce((sum, { all }) => sum + all, 0);
  if (sent.some(({ fewest }) => fewest < 1)) throw new Error('an agent sent no heartbeat within the window');

  say(
    `${database}: ${JSON.stringify({
      rssKbBefore: idle.rssKb,
      rssKbWithAgents: loaded.rssKb,
      heapUsedKbBefore: rounded(idle.heapUsedKb),
      heapUsedKbWithAgents: rounded(loaded.heapUsedKb),
      externalKbWithAgents: rounded(loaded.externalKb),
      cpuMsInWindow: rounded(after.cpuMs - before.cpuMs),
      windowMs,
      heartbeats,
      writes: writesAfter.others - writesBefore.others,
      livenessWrites: writesAfter.liveness - writesBefore.liveness,
    })}`,
  );

  await server.kill();
  const killedMs = performance.now();
  const again = await startServer(Number(new URL(url).port));
  const listeningMs = performance.now();
  const failuresOfFleet = async () => JSON.stringify(await Promise.all(fleet.map((part) => part.call('takeFailures'))));
  try {
    await allLinked(again.server, agents, signal);
  } finally {
    say(`${database}: failed while they came back, by process: ${await failuresOfFleet()}`);
  }
  const backMs = performance.now();
  say(
    `${database}: listening again ${rounded((listeningMs - killedMs) / 1_000)} s after the kill, ` +
      `all agents back after ${rounded((backMs - killedMs) / 1_000)} s`,
  );
  return {
    rssKbPerAgent: (loaded.rssKb - idle.rssKb) / agents,
    cpuMsPerAgentMinute: ((after.cpuMs - before.cpuMs) / agents / windowMs) * 60_000,
    idleCpuMsPerMinute,
    dbWritesPerHeartbeat: (writesAfter.others - writesBefore.others) / heartbeats,
    livenessWrites: writesAfter.liveness - writesBefore.liveness,
    heartbeats,
    reconnectStormS: (backMs - killedMs) / 1_000,
  };
}

/** Waits until every agent has a session with a link on this server. */
async function allLinked(server: Child<DroverServerMethods>, agents: number, signal: AbortSignal): Promise<void> {
  const untilMs = performance.now() + arriveMsMax;
  for (;;) {
    const status = await server.call('status');
    if (status !== undefined && status.sessions === agents && status.linked === agents) return;
    if (performance.now() > untilMs) {
      throw new Error(`after ${arriveMsMax / 1_000} s: ${JSON.stringify(status)} instead of ${agents} agents`);
    }
    await sleep(50, undefined, { signal });
  }
}

/** Rows written to Drover's tables: the row by which the server says that it lives, and all others. */
async function writesOf(
  pool: ReturnType<typeof quietPool>,
): Promise<{ readonly liveness: number; readonly others: number }> {
  const { rows } = await pool.query<{ liveness: string; others: string }>(
    `select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del) filter (where relname = 'servers'), 0) as liveness,
            coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del) filter (where relname <> 'servers'), 0) as others
       from pg_stat_user_tables where schemaname = 'drover'`,
  );
  return { liveness: Number(rows[0]?.liveness), others: Number(rows[0]?.others) };
}
