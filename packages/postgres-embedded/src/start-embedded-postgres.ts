import { silentLogger, type Logger } from '@drover/lease-kit';
import { clusterDirOf, placeData } from './internal/data-place.ts';
import { embeddedPostgresError } from './internal/errors.ts';
import { lockFolder, type FolderLock } from './internal/folder-lock.ts';
import { initializeCluster, roleName } from './internal/initialize-cluster.ts';
import { launchServer } from './internal/launch-server.ts';
import { livePostmaster, removeMisleadingPidFile, stopLeftPostmaster } from './internal/left-postmaster.ts';
import { reachableBinaries } from './internal/postgres-binaries.ts';
import { findServerUser, isRoot } from './internal/server-user.ts';
import type { SupervisedProcess } from './internal/supervised-process.ts';

/** How {@link startEmbeddedPostgres} starts. */
export interface EmbeddedPostgresOptions {
  /** Folder of the data, the password and the lock; made if absent. One process at a time uses it. */
  readonly dataDir: string;
  /** TCP port on 127.0.0.1, 1–65535; absent means a free one, another at each start. */
  readonly port?: number;
  /** Absent means silence. The server's own lines come at level debug. */
  readonly logger?: Logger;
  /** Ends the start, with nothing left running; once started, use `stop()`. */
  readonly signal?: AbortSignal;
  /** Settings of postgresql.conf over the defaults of this package, e.g. `{ max_wal_size: '4GB' }`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** True for data that a crash of the machine may destroy: no fsync, and a quicker initdb. Absent means false. */
  readonly isThrowaway?: boolean;
  /**
   * Where root keeps the data and a copy of the programs when the server's user cannot enter `dataDir` or the checkout.
   * Absent means `/var/lib/drover`.
   */
  readonly relocationDir?: string;
  /** How long `stop()` waits for a fast shutdown before an immediate one, in ms. Absent means 30,000. */
  readonly fastStopMs?: number;
}

/** How the server ended. */
export interface EmbeddedPostgresExit {
  /** True when `stop()` asked for it. */
  readonly isExpected: boolean;
  /** Exit status of the server; absent when it could not be seen. */
  readonly status: number | undefined;
  /** The server's last lines, at most fifty. */
  readonly logTail: readonly string[];
}

/** A running Postgres that ends with this process. */
export interface EmbeddedPostgres extends AsyncDisposable {
  /** `postgres://drover:<password>@127.0.0.1:<port>/postgres`; holds the password, so keep it out of logs. */
  readonly url: string;
  readonly port: number;
  /** Where the data really is, which differs from the option when root had to move it. */
  readonly dataDir: string;
  /** E.g. `18.4`. */
  readonly version: string;
  /** Resolves when the server ended, asked or not; never rejects. */
  readonly exited: Promise<EmbeddedPostgresExit>;
  /** Ends the server, its clients' connections included, and frees the folder. Idempotent. */
  stop(): Promise<void>;
}

const defaultRelocationDir = '/var/lib/drover';
const defaultFastStopMs = 30_000;
const immediateStopMs = 10_000;
const defaultSettings = { max_connections: '200' };
const throwawaySettings = { fsync: 'off', full_page_writes: 'off' };

/**
 * Starts a real Postgres as a child process on `dataDir`, with fsync on, reachable from this machine only and by a
 * generated password only. The data is there again at the next start. A server that an earlier, killed process left is
 * stopped first. Run as root, it gives the server to the user `postgres` or `nobody`.
 *
 * @throws DroverError with one of {@link EmbeddedPostgresErrorCode}, e.g. `EMBEDDED_POSTGRES_IN_USE` with the pid.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { signal, logger = silentLogger, isThrowaway = false, fastStopMs = defaultFastStopMs } = options;
  const relocationDir = options.relocationDir ?? defaultRelocationDir;
  signal?.throwIfAborted();
  checkPort(options.port);

  const user = isRoot() ? findServerUser() : undefined;
  const place = await placeData(options.dataDir, user, relocationDir);
  if (place.isRelocated) {
    logger.warn(
      { wanted: options.dataDir, dataDir: place.dir },
      'Postgres cannot use the wanted folder; data is elsewhere',
    );
  }
  const clusterDir = clusterDirOf(place.dir);
  const lock = await lockFolder(place.dir);
  try {
    const binaries = await reachableBinaries(place.user, relocationDir);
    if (await stopLeftPostmaster(clusterDir, { fastStopMs, immediateStopMs })) {
      logger.warn({ dataDir: place.dir }, 'stopped the Postgres that an earlier process left');
    }
    signal?.throwIfAborted();
    const password = await initializeCluster(place, binaries, { isThrowaway, signal });
    await removeMisleadingPidFile(clusterDir);
    const server = await launchServer({
      binaries,
      clusterDir,
      user: place.user,
      port: options.port,
      settings: { ...defaultSettings, ...(isThrowaway ? throwawaySettings : {}), ...options.settings },
      signal,
      onLine: (line) => logger.debug({ line }, 'postgres'),
    });
    const url = `postgres://${roleName}:${password}@127.0.0.1:${server.port}/postgres`;
    const { exited, stop } = lifetimeOf(server.process, { clusterDir, lock, fastStopMs });
    return {
      url,
      port: server.port,
      dataDir: place.dir,
      version: binaries.version,
      exited,
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

interface LifetimeDeps {
  readonly clusterDir: string;
  readonly lock: FolderLock;
  readonly fastStopMs: number;
}

function lifetimeOf(server: SupervisedProcess, deps: LifetimeDeps): Pick<EmbeddedPostgres, 'exited' | 'stop'> {
  const { clusterDir, lock, fastStopMs } = deps;
  let stopping: Promise<void> | undefined;
  const exited = server.exited.then((exit) => ({ isExpected: stopping !== undefined, ...exit }));

  async function stopOnce(): Promise<void> {
    server.interrupt();
    const timer = setTimeout(() => {
      // Its clients or its disk hold it up; an immediate shutdown costs a recovery at the next start, not data.
      void livePostmaster(clusterDir).then((pid) => pid !== undefined && process.kill(pid, 'SIGQUIT'));
    }, fastStopMs);
    await server.exited;
    clearTimeout(timer);
    // Somebody may have killed the watchdog: then the server still runs.
    await stopLeftPostmaster(clusterDir, { fastStopMs, immediateStopMs });
    await lock.release();
  }
  return { exited, stop: () => (stopping ??= stopOnce()) };
}

function checkPort(port: number | undefined): void {
  if (port === undefined || (Number.isInteger(port) && port >= 1 && port <= 65_535)) return;
  throw embeddedPostgresError(
    'EMBEDDED_POSTGRES_OPTION_INVALID',
    `The port ${port} of the embedded Postgres is not a whole number from 1 to 65535.`,
    { port },
  );
}
