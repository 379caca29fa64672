import { createContextKey, type ContextValues } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { isLoopback } from '@drover/app-config';
import {
  AuditOutbox,
  CompileWorker,
  registerCompileService,
  SchedulerLink,
  type WorkerConfig,
} from '@drover/compile-service/worker';
import type { TaskTokenClaims } from '@drover/compile-tokens';
import { DroverError, silentMeter, type Logger, type Meter } from '@drover/lease-kit';
import { createOperatorHost, createRpcHost, loadTls, type RpcHost } from '@drover/rpc-host';
import { createSandboxPool } from '@drover/vm-runtime';
import { createHash, randomUUID, X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { createSandboxDriver } from './sandbox-driver.ts';
import { unpackedImages } from './unpacked-images.ts';
import { version } from './version.ts';

/** A worker that runs. */
export interface RunningWorker extends AsyncDisposable {
  readonly workerId: string;
  /** For clients on this machine. */
  readonly url: string;
  /** Resolves at the first registration with the scheduler. */
  readonly registered: Promise<void>;
  /** Takes no new compiles, lets those under way end for so long, and ends. */
  stop(graceMs: number): Promise<void>;
}

const messageBytesMax = 256 * 1_024 ** 2;
const recoverMs = 60_000;
const noClaims = {} as TaskTokenClaims;
const claimsKey = createContextKey<TaskTokenClaims>(noClaims, { description: 'task token' });

/** Starts a worker. It serves before it registers; a scheduler that is away is asked again until it answers. */
export async function runWorker(config: WorkerConfig, logger: Logger): Promise<RunningWorker> {
  const { state, vm, pool: bounds, scheduler, tls } = config;
  checkSchedulerUrl(config);
  const material = { ...(await loadTls({ cert: tls.cert_file, key: tls.key_file })), minVersion: 'TLSv1.3' as const };
  const certificateSha256 = new Uint8Array(
    createHash('sha256')
      .update(new X509Certificate(readFileSync(tls.cert_file)).raw)
      .digest(),
  );
  mkdirSync(state.dir, { recursive: true, mode: 0o700 });
  const workerId = config.worker_id || keptWorkerId(state.dir);
  await using parts = new AsyncDisposableStack();
  const driver = parts.use(await createSandboxDriver(config, logger));
  await driver.recover(AbortSignal.timeout(recoverMs));
  const images = unpackedImages(config, driver);
  const pool = parts.use(
    createSandboxPool(
      {
        sandboxesMax: bounds.max_active,
        usesMax: vm.vcpus,
        bounds: { vcpus: vm.vcpus, memoryBytes: vm.memory, diskBytes: vm.disk, processesMax: vm.processes_max },
        ...(vm.idle_timeout > 0 ? { idleMsMax: vm.idle_timeout } : {}),
        ...(vm.session_timeout > 0 ? { ageMsMax: vm.session_timeout } : {}),
        waitMsMax: bounds.wait_max,
        spareMax: bounds.spare_max,
      },
      { driver, logger },
    ),
  );
  const slots = bounds.max_active * vm.vcpus;
  const ca = scheduler.ca_file === '' ? {} : { nodeOptions: { ca: readFileSync(scheduler.ca_file) } };
  const outbox = new AuditOutbox(join(state.dir, 'records'), logger);
  const architecture = `${process.platform}-${process.arch}`;
  const { isolation } = driver;
  const { public_addr: publicAddress, paranoid } = config;
  const registration = {
    publicAddress,
    certificateSha256,
    isolation,
    slotsTotal: slots,
    paranoid,
    version,
    architecture,
  };
  const link = parts.use(
    new SchedulerLink(
      { workerId, workerToken: scheduler.worker_token, registration },
      {
        transport: createGrpcTransport({ baseUrl: scheduler.url, ...ca }),
        outbox,
        images,
        pool,
        load: processorLoad(),
        logger,
      },
    ),
  );
  const worker = new CompileWorker(
    { workerId, paranoid, slots, compileMsMax: vm.compile_timeout },
    { pool, images, keys: link.keys, epoch: () => link.epoch, onCompiled: (audit) => outbox.add(audit), logger },
  );
  const metrics = parts.use(await serveMetrics(config, logger, worker, pool));
  const host = parts.use(createWorkerHost(config, material, worker, metrics.meter, logger));
  await host.start();
  link.start(worker);
  logger.info({ workerId, url: host.url, publicAddress, driver: driver.name, slots }, 'the worker is listening');
  const running = parts.move();
  let stopping: Promise<void> | undefined;
  const stop = async (graceMs: number): Promise<void> => {
    const drained = worker.drain();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, Math.min(graceMs, 2 ** 31 - 1))));
    await Promise.race([drained, late]);
    clearTimeout(timer);
    await host.stop({ graceMs: 0 });
    await running.disposeAsync();
  };
  return {
    workerId,
    url: host.url,
    registered: link.registered,
    stop: (graceMs) => (stopping ??= stop(graceMs)),
    [Symbol.asyncDispose]: () => (stopping ??= stop(0)),
  };
}

function createWorkerHost(
  { listen }: WorkerConfig,
  tls: Awaited<ReturnType<typeof loadTls>>,
  worker: CompileWorker,
  meter: Meter,
  logger: Logger,
): RpcHost {
  const limits = { messageReceiveSizeBytesMax: messageBytesMax, messageSendSizeBytesMax: messageBytesMax };
  return createRpcHost(
    { ...addressOf(listen), tls, limits },
    {
      logger,
      meter,
      isReady: () => (worker.draining ? { ready: false, reason: 'draining' } : { ready: true }),
      principalOf: async ({ header, values }) => {
        const token = /^Bearer (.+)$/.exec(header.get('authorization') ?? '')?.[1];
        if (token === undefined) return undefined;
        const claims = await worker.checkToken(token);
        values.set(claimsKey, claims);
        return { kind: 'service', id: `tenant:${claims.tenantId}` };
      },
      routes: (router) =>
        registerCompileService(router, { worker, claimsOf: (values: ContextValues) => values.get(claimsKey) }),
    },
  );
}

/** Metrics where the configuration asks for them. */
async function serveMetrics(
  { metrics_listen: listen }: WorkerConfig,
  logger: Logger,
  worker: CompileWorker,
  pool: { list(): readonly { readonly state: string }[] },
): Promise<{ readonly meter: Meter } & AsyncDisposable> {
  if (listen === '') return { meter: silentMeter, [Symbol.asyncDispose]: async () => undefined };
  const address = addressOf(listen);
  if (!isLoopback(address.host)) {
    throw new DroverError({
      code: 'PLAINTEXT_REFUSED',
      advice: 'fix-input',
      message: `metrics_listen is ${listen}, which other machines reach; allowed is an address of this machine alone, e.g. 127.0.0.1:9192`,
    });
  }
  const { createMetrics } = await import('@drover/telemetry/metrics');
  const metrics = createMetrics({ logger });
  const { meter } = metrics;
  meter
    .createObservableGauge('drover_worker_compiles', { description: 'Compiles under way, those that wait included.' })
    .addCallback((seen) => seen.observe(worker.inFlight));
  meter
    .createObservableGauge('drover_worker_sandboxes', { description: 'Sandboxes that there are.' })
    .addCallback((seen) => seen.observe(pool.list().length));
  const host = createOperatorHost(address, { metrics: () => metrics.scrape(), logger });
  await host.start();
  return { meter, [Symbol.asyncDispose]: () => host[Symbol.asyncDispose]() };
}

function addressOf(listen: string): { readonly host: string; readonly port: number } {
  const at = listen.lastIndexOf(':');
  return { host: listen.slice(0, at).replace(/^\[|\]$/g, '') || '::', port: Number(listen.slice(at + 1)) };
}

function checkSchedulerUrl({ scheduler }: WorkerConfig): void {
  const { protocol, hostname } = new URL(scheduler.url);
  if (protocol === 'https:' || scheduler.plaintext || isLoopback(hostname)) return;
  throw new DroverError({
    code: 'PLAINTEXT_REFUSED',
    advice: 'fix-input',
    message: `scheduler.url is ${scheduler.url}, on another machine and without TLS; allowed is https://, or scheduler.plaintext = true`,
  });
}

/** The id that was made at the first start. */
function keptWorkerId(stateDir: string): string {
  const path = join(stateDir, 'worker-id');
  try {
    writeFileSync(path, `worker-${randomUUID().replaceAll('-', '')}`, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  return readFileSync(path, 'utf8').trim();
}

/** Share of the processors in use since it was asked last. */
function processorLoad(): () => number {
  const read = () => {
    const times = cpus().map(({ times: one }) => one);
    const idle = times.reduce((sum, one) => sum + one.idle, 0);
    return { idle, all: times.reduce((sum, one) => sum + one.idle + one.user + one.nice + one.sys + one.irq, 0) };
  };
  let last = read();
  return () => {
    const now = read();
    const all = now.all - last.all;
    const share = all <= 0 ? 0 : 1 - (now.idle - last.idle) / all;
    last = now;
    return Math.min(1, Math.max(0, share));
  };
}
