import { FailedSignIns } from '@drover/access';
import { createDiskContentStore } from '@drover/content-store-disk';
import { createFleetPolicy } from '@drover/fleet-policy';
import { systemClock, type Logger, type Principal } from '@drover/lease-kit';
import { loadTls, watchTls } from '@drover/rpc-host';
import { measuredStore } from '@drover/lease-store';
import { createLeaseTypes } from '@drover/lease-type-loader';
import { agentTraits } from '@drover/task-sources';
import { join } from 'node:path';
import type { DependencyContainer } from 'tsyringe';
import { composeServer, createServerHost } from './compose-server.ts';
import { openStore } from './open-store.ts';
import { openSecretSealer } from './secret-keys.ts';
import { checkCredentials, checkDevelopment, createServerAccess } from './server-access.ts';
import type { ServerConfig } from './server-config.ts';
import { createServerCompile } from './server-compile.ts';
import { createServerEnrolment } from './server-enrolment.ts';
import { createServerHealth } from './server-health.ts';
import { createServerMetrics } from './server-metrics.ts';
import { serverTlsFiles } from './server-tls.ts';
import { serverParts, type ServerCollaborators } from './server-parts.ts';
import { LeaseServerToken } from './tokens.ts';

/** A server that runs. */
export interface RunningServer extends AsyncDisposable {
  /** For clients on this machine. */
  readonly url: string;
  /** Where the embedded Postgres keeps its data; absent with an external one. */
  readonly dataDir: string | undefined;
  /** Resolves if the embedded Postgres ends without being asked to. */
  readonly failed: Promise<Error>;
  /** Reads the files of its certificate anew. Never rejects. */
  reload(): Promise<void>;
  /**
   * Hands out nothing more, gives its agents to other servers and closes. Open calls have `graceMs`; calling it again with
   * less shortens that.
   */
  stop(graceMs: number): Promise<void>;
}

/**
 * Starts everything that a server is, in order; what was started is stopped again if a later part fails. `extend` registers
 * what is added to the composition root before anything is resolved: further task sources and planners.
 */
export async function runServer(
  config: ServerConfig,
  logger: Logger,
  signal: AbortSignal,
  extend?: (container: DependencyContainer) => void,
): Promise<RunningServer> {
  checkDevelopment(config);
  const tlsFiles = serverTlsFiles(config);
  const tls = tlsFiles === undefined ? undefined : await loadTls(tlsFiles);
  // Before anything is started: a package that is wrong must not cost a database its start.
  const loaded = await serverParts(config, process.cwd());
  await using started = new AsyncDisposableStack();
  const contentDir = config.content.dir ?? join(config.state.dir, 'content');
  const content = started.use(
    await createDiskContentStore({ directory: contentDir, sizeBytesMax: config.content.size_max }),
  );
  const metrics = await createServerMetrics(config, logger);
  if (metrics !== undefined) started.use(metrics);
  const opened = started.use(await openStore(config, logger, signal));
  const { embedded } = opened;
  const store = metrics === undefined ? opened.store : measuredStore(opened.store, metrics.meter);
  await checkCredentials(config, store, signal);
  const enrolment = started.use(createServerEnrolment(config, { store, logger }));
  const failures = new FailedSignIns();
  const compile = createServerCompile(config, { store, failures, logger, meter: metrics?.meter });
  const verifiers = [enrolment.verifier, compile.verifier];
  const access = started.use(createServerAccess(config, { store, logger, failures, verifiers }));
  const { queue, signals, agentTasks } = store;
  const principal: Principal = { kind: 'service', id: 'fleet-policy' };
  const policy = started.use(createFleetPolicy({ store, principal, logger }));
  const health = createServerHealth(config, { store, policy, logger });
  const keeper = started.use(health.keeper);
  const leaseTypes = started.use(
    await createLeaseTypes(loaded, {
      tables: config.lease_type,
      collaborators: (_, leaseType): ServerCollaborators => ({
        queue,
        signals,
        rollouts: store.rollouts,
        workspaces: store.workspaces,
        poolsOf: ({ agentId, description, poolsAllowed }) =>
          agentTraits(agentId, description, policy.pools, poolsAllowed).pools,
        sessions: store.sessions,
        agentSettings: store.agentSettings,
        agentTasks,
        weightOf: (pool, submitter) => policy.weightOf(pool, submitter),
        blobs: content,
        clock: systemClock,
        logger: logger.child({ leaseType }),
      }),
    }),
  );
  const secrets = await openSecretSealer(config, embedded !== undefined);
  const container = composeServer(config, {
    store,
    content,
    logger,
    policy,
    enrolment,
    compile,
    secrets,
    canaries: health.source,
    leaseTypes: leaseTypes.contributions,
    meter: metrics?.meter,
  });
  extend?.(container);
  const server = started.use(container.resolve(LeaseServerToken));
  const host = createServerHost(config, container, access, tls);
  // No agent is given work before it is known what operators say about it.
  await policy.start(signal);
  enrolment.admission.start(server);
  await server.start();
  await host.start({ signal });
  await metrics?.start();
  if (config.health.enabled) keeper.start();
  logger.info({ url: host.url, dataDir: embedded?.dataDir, contentDir }, 'the server is listening');

  const tlsWatch = tlsFiles === undefined ? undefined : started.use(watchTls(tlsFiles, host, { logger }));
  const parts = started.move();
  let stopping: Promise<void> | undefined;
  const stop = (graceMs: number): Promise<void> => {
    const stopped = Promise.all([server.stop({ graceMs }), host.stop({ graceMs })]);
    stopping ??= stopped.then(() => parts.disposeAsync());
    return stopping;
  };
  const failed = Promise.withResolvers<Error>();
  void embedded?.exited.then(({ isExpected, logTail }) => {
    if (!isExpected) failed.resolve(new Error(`the embedded Postgres has ended: ${logTail.slice(-3).join(' | ')}`));
  });
  return {
    url: host.url,
    dataDir: embedded?.dataDir,
    failed: failed.promise,
    reload: async () => void (await Promise.all([tlsWatch?.reload(), metrics?.reload()])),
    stop,
    [Symbol.asyncDispose]: () => stop(0),
  };
}
