import { createServer, type AddressInfo } from 'node:net';
import { embeddedPostgresError } from './errors.ts';
import { clusterName } from './left-postmaster.ts';
import type { PostgresBinaries } from './postgres-binaries.ts';
import type { ServerUser } from './server-user.ts';
import { superviseProcess, type SupervisedProcess } from './supervised-process.ts';

/** What the server is started with. */
export interface LaunchOptions {
  readonly binaries: PostgresBinaries;
  readonly clusterDir: string;
  readonly user: ServerUser | undefined;
  /** Absent means a free one. */
  readonly port: number | undefined;
  readonly settings: Readonly<Record<string, string>>;
  readonly signal: AbortSignal | undefined;
  readonly onLine: (line: string) => void;
}

/** A server that accepts connections. */
export interface LaunchedServer {
  readonly process: SupervisedProcess;
  readonly port: number;
}

const portAttemptsMax = 5;
const readyLine = 'database system is ready to accept connections';

/**
 * Starts the server and waits until it accepts connections, however long a recovery takes; abort ends it.
 *
 * @throws `EMBEDDED_POSTGRES_PORT_IN_USE`, `EMBEDDED_POSTGRES_START_FAILED` with the server's last lines.
 */
export async function launchServer(options: LaunchOptions): Promise<LaunchedServer> {
  for (let attempt = 1; ; attempt += 1) {
    const port = options.port ?? (await freePort());
    const outcome = await launchOn(port, options);
    if ('process' in outcome) return outcome;
    options.signal?.throwIfAborted();
    const log = outcome.logTail.join('\n');
    const isPortTaken = log.includes('Address already in use');
    // Between finding a port and binding it, another process may take it.
    if (isPortTaken && options.port === undefined && attempt < portAttemptsMax) continue;
    if (isPortTaken) {
      throw embeddedPostgresError(
        'EMBEDDED_POSTGRES_PORT_IN_USE',
        `Port ${port} of 127.0.0.1 is taken; choose another one, or none for a free one.`,
        { port },
      );
    }
    throw embeddedPostgresError(
      'EMBEDDED_POSTGRES_START_FAILED',
      `The embedded Postgres in ${options.clusterDir} ended while it started:\n${log}`,
    );
  }
}

async function launchOn(
  port: number,
  options: LaunchOptions,
): Promise<LaunchedServer | { logTail: readonly string[] }> {
  const settings: Record<string, string> = {
    cluster_name: clusterName,
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    logging_collector: 'off',
    log_destination: 'stderr',
    log_line_prefix: '',
    timezone: 'UTC',
    log_timezone: 'UTC',
    ...options.settings,
  };
  const { promise: ready, resolve: setReady } = Promise.withResolvers<undefined>();
  const server = superviseProcess({
    command: options.binaries.postgres,
    args: [
      '-D',
      options.clusterDir,
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ],
    user: options.user,
    onLine: (line) => {
      if (line.includes(readyLine)) setReady(undefined);
      options.onLine(line);
    },
  });
  options.signal?.addEventListener('abort', server.interrupt, { once: true });
  if (options.signal?.aborted) server.interrupt();
  try {
    const exit = await Promise.race([ready, server.exited]);
    if (exit !== undefined) return exit;
    if (options.signal?.aborted) return await server.exited;
    return { process: server, port };
  } finally {
    options.signal?.removeEventListener('abort', server.interrupt);
  }
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', resolve);
  });
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
