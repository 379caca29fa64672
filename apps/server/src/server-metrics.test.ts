import { JobService, PoolService, SubmitJobsRequestSchema } from '@drover/control-api';
import { create } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { Code, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { loadAppConfig } from '@drover/app-config';
import { createDiskContentStore } from '@drover/content-store-disk';
import { createFleetPolicy } from '@drover/fleet-policy';
import { silentLogger, systemClock } from '@drover/lease-kit';
import { Outcome } from '@drover/lease-protocol';
import { MachineAgent } from '@drover/lease-server/testing';
import { createMemoryStore, measuredStore } from '@drover/lease-store';
import { BatchSchema, JobSchema } from '@drover/lease-type-job';
import { createJobTaskSource, jobPlanner } from '@drover/lease-type-job/task-source';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { composeServer, createServerHost } from './compose-server.ts';
import { parseMetricsText, type MetricFamily } from './metrics-text.test.fixture.ts';
import { createServerAccess } from './server-access.ts';
import { createServerCompile } from './server-compile.ts';
import { createServerEnrolment } from './server-enrolment.ts';
import { createServerMetrics } from './server-metrics.ts';
import { serverConfig } from './server-config.ts';
import { LeaseServerToken } from './tokens.ts';

const load = (flags: Record<string, string>) => loadAppConfig(serverConfig, { env: {}, flags, cwd: '/' }).value;

/** A server with metrics over a memory store, and one agent of pool "builders". */
async function setUp() {
  await using parts = new AsyncDisposableStack();
  const dir = mkdtempSync(join(tmpdir(), 'drover-metrics-'));
  parts.defer(() => rmSync(dir, { recursive: true, force: true }));
  const logger = silentLogger;
  const config = load({
    'listen.port': '0',
    'access.development': 'true',
    'state.dir': dir,
    'metrics.port': '0',
  });
  const metrics = parts.use((await createServerMetrics(config, logger))!);
  const store = measuredStore(parts.use(createMemoryStore()), metrics.meter);
  const content = parts.use(await createDiskContentStore({ directory: join(dir, 'content'), sizeBytesMax: 2 ** 20 }));
  const enrolment = parts.use(createServerEnrolment(config, { store, logger }));
  const access = parts.use(createServerAccess(config, { store, logger, verifiers: [enrolment.verifier] }));
  const policy = parts.use(createFleetPolicy({ store, principal: { kind: 'service', id: 'test' } }));
  await policy.start();
  const source = createJobTaskSource({ queue: store.queue, signals: store.signals });
  const leaseTypes = [{ source, planner: jobPlanner }];
  const { meter } = metrics;
  const compile = createServerCompile(config, { store, failures: access.failures, logger, meter });
  const container = composeServer(config, { store, content, logger, policy, enrolment, compile, leaseTypes, meter });
  const server = parts.use(container.resolve(LeaseServerToken));
  const host = createServerHost(config, container, access);
  parts.defer(() => host.stop({ graceMs: 0 }));
  await server.start();
  await host.start();
  await metrics.start();
  const agent = new MachineAgent(
    {
      agentId: 'build-1',
      description: {
        resources: { cores: 4n },
        leasesMax: 1,
        pools: ['builders'],
        payloadTypes: [BatchSchema.typeName],
      },
    },
    () => server.endpoint,
    systemClock,
  ).start();
  parts.defer(() => agent.kill());
  const transport = createGrpcTransport({ baseUrl: host.url });
  const whole = parts.move();
  return {
    agent,
    url: metrics.url,
    jobs: createClient(JobService, transport),
    pools: createClient(PoolService, transport),
    [Symbol.asyncDispose]: () => whole.disposeAsync(),
  };
}

/** What docs/operating says there is. */
function documentedTypes(): Record<string, string> {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/operating/README.md'), 'utf8');
  const rows = page.matchAll(/^\| `(drover_\w+)` +\| (counter|gauge|histogram) +\|/gm);
  return Object.fromEntries(rows.map(([, name = '', type = '']) => [name, type]));
}

async function scrape(url: string): Promise<ReadonlyMap<string, MetricFamily>> {
  const response = await fetch(url);
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  return parseMetricsText(await response.text());
}

test('what a server measures can be scraped, and is right after a job has run and another waits', async () => {
  await using served = await setUp();
  const { agent, jobs, pools, url } = served;
  await pools.createPool({ pool: { name: 'builders', condition: 'os == "lin\\"ux"' } });
  await pools.getPool({ name: 'nowhere' }).catch(() => undefined);
  const job = create(JobSchema, {
    batches: ['one', 'two', 'three'].map((name) => ({
      name,
      requirements: { pool: 'builders' },
      steps: [{ name: 's', exe: 'true' }],
    })),
  });
  const { jobIds } = await jobs.submitJobs(
    create(SubmitJobsRequestSchema, { jobs: [{ name: 'j', payload: anyPack(JobSchema, job) }] }),
  );
  await expect.poll(() => agent.running.length).toBe(1);
  agent.finish(agent.running[0]!, { outcome: Outcome.COMPLETED });
  // The second has begun, so the end of the first is stored; the third waits.
  await expect.poll(() => agent.running.length).toBe(2);

  const families = await scrape(url);
  const value = (series: string): number | undefined => families.get(series.split('{')[0]!)?.samples.get(series);
  const types = Object.fromEntries([...families].map(([name, { type }]) => [name, type]));
  expect(documentedTypes()).toEqual(types);
  expect(value('drover_server_ready')).toBe(1);
  expect(value('drover_server_sessions')).toBe(1);
  expect(value('drover_server_attempts')).toBe(1);
  expect(value('drover_pool_waiting_leases{pool="builders"}')).toBe(1);
  expect(value('drover_pool_waiting_leases{pool=""}')).toBe(0);
  expect(value('drover_pool_working_agents{pool="builders"}')).toBe(1);
  expect(value('drover_pool_idle_agents{pool="builders"}')).toBe(0);
  expect(value('drover_pool_needed_agents{pool="builders",size="cores=4,leases=1"}')).toBe(1);
  expect(value('drover_agents{state="ok",enabled="true"}')).toBe(1);
  expect(value('drover_agents{state="offline",enabled="true"}')).toBe(0);
  expect(value('drover_attempts_offered_total{source="job"}')).toBe(2);
  expect(value('drover_attempts_accepted_total{source="job"}')).toBe(2);
  expect(value('drover_attempts_ended_total{source="job",outcome="completed",final="true"}')).toBe(1);
  const service = 'service="drover.control.v1.PoolService"';
  expect(value(`drover_rpc_calls_total{${service},method="CreatePool",code="OK"}`)).toBe(1);
  expect(value(`drover_rpc_calls_total{${service},method="GetPool",code="NOT_FOUND"}`)).toBe(1);
  const durations = families.get('drover_rpc_duration_seconds')!.samples;
  expect(durations.get(`drover_rpc_duration_seconds_count{${service},method="GetPool"}`)).toBe(1);
  const calls = families.get('drover_store_call_duration_seconds')!.samples;
  expect(calls.get('drover_store_call_duration_seconds_count{call="pools.createPool",result="ok"}')).toBe(1);
  expect(calls.get('drover_store_call_duration_seconds_count{call="queue.claim",result="ok"}')).toBeGreaterThan(0);

  // A stream counts when it ends, here because its caller leaves.
  const watching = `drover_rpc_calls_total{service="drover.control.v1.JobService",method="WatchJob",code="CANCELLED"}`;
  expect(value(watching)).toBeUndefined();
  const leaving = new AbortController();
  const watch = async (): Promise<void> => {
    for await (const _ of jobs.watchJob({ jobId: jobIds[0]! }, { signal: leaving.signal })) leaving.abort();
  };
  await expect(watch()).rejects.toMatchObject({ code: Code.Canceled });
  await expect.poll(async () => (await scrape(url)).get('drover_rpc_calls_total')!.samples.get(watching)).toBe(1);

  // The fleet is read at most every 5 s, however often the metrics are.
  const looks = 'drover_store_call_duration_seconds_count{call="queue.waitingWork",result="ok"}';
  const before = calls.get(looks)!;
  await Promise.all([scrape(url), scrape(url)]);
  const again = await scrape(url);
  expect(again.get('drover_store_call_duration_seconds')!.samples.get(looks)! - before).toBeLessThanOrEqual(1);
});

test('nothing but metrics is served, and only with GET and HEAD', async () => {
  await using served = await setUp();
  const status = async (path: string, method = 'GET') => (await fetch(new URL(path, served.url), { method })).status;
  expect(await status('/metrics', 'HEAD')).toBe(200);
  expect(await status('/metrics', 'POST')).toBe(405);
  expect(await status('/healthz')).toBe(404);
  expect(await status('/drover.control.v1.JobService/ListJobs', 'POST')).toBe(404);
});

test('without a port there are none, and other machines read them by TLS unless it is said otherwise', async () => {
  expect(await createServerMetrics(load({}), silentLogger)).toBeUndefined();
  const open = { 'metrics.port': '0', 'metrics.host': '0.0.0.0' };
  await expect(createServerMetrics(load(open), silentLogger)).rejects.toMatchObject({ code: 'PLAINTEXT_REFUSED' });
  await using plain = await createServerMetrics(load({ ...open, 'metrics.plaintext': 'true' }), silentLogger);
  expect(plain).toBeDefined();
  const files = { 'listen.tls_cert': '/nowhere/cert.pem', 'listen.tls_key': '/nowhere/key.pem' };
  await expect(createServerMetrics(load({ ...open, ...files }), silentLogger)).rejects.toMatchObject({
    code: 'TLS_FILES_INVALID',
  });
});
