import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { SchedulerService } from '@drover/compile-protocol';
import { CompileClient, CompileDaemon, CompilePlaces, RemoteCompiler } from '@drover/compile-service/client';
import { GuardedSessionManager } from '@drover/grpc-streams';
import { silentLogger, systemClock } from '@drover/lease-kit';
import { serverOrigin, type CommandContext } from '../command-context.ts';
import { tokenFor } from '../sign-in/token-for.ts';
import { ccFolder, loadCcConfig } from './cc-config.ts';

/** How long launchers do not ask after a failure, and where there is nothing to be sent to. */
const offMs = { failed: 10_000, notConfigured: 60_000 };

/** The client daemon: until it is idle for long, or stopped. */
export async function runCcDaemon(context: CommandContext): Promise<void> {
  const { env, signal } = context;
  const config = loadCcConfig(env);
  const folder = config.folder ?? ccFolder(env);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const turnOff = async (forMs: number): Promise<void> => {
    const path = join(folder, 'off-until');
    await writeFile(`${path}.new`, String(Math.ceil((systemClock.wallMs() + forMs) / 1_000)), { mode: 0o600 });
    await rename(`${path}.new`, path);
  };
  const { digest: imageDigest, reference: imageReference } = config.image;
  if (imageDigest === undefined) return turnOff(offMs.notConfigured);
  const url = serverOrigin({ server: config.server }, env);
  const tls = config.ca === undefined ? {} : { ca: await readFile(config.ca, 'utf8') };
  const sessions = new GuardedSessionManager(url, { pingIntervalMs: 20_000, pingTimeoutMs: 10_000 }, tls);
  using _sessions = { [Symbol.dispose]: () => sessions.abort() };
  const transport = createGrpcTransport({
    baseUrl: url,
    sessionManager: sessions,
    interceptors: [
      (next) => async (request) => {
        const token = await tokenFor(url, { env, signal });
        if (token) request.header.set('authorization', `Bearer ${token}`);
        return next(request);
      },
    ],
  });
  const scheduler = createClient(SchedulerService, transport);
  const places = new CompilePlaces({ imageDigest, tenantId: config.tenant }, { scheduler, clock: systemClock });
  using remote = new RemoteCompiler({ imageDigest, imageReference }, { places });
  const onFailed = (): void => void turnOff(offMs.failed).catch(() => {});
  const client = new CompileClient({}, { remote, clock: systemClock, logger: silentLogger, onFailed });
  await using daemon = new CompileDaemon(
    { folder, idleMs: config.idle },
    { client, clock: systemClock, logger: silentLogger },
  );
  await daemon.start();
  const stopped = new Promise<void>((fulfil) => signal.addEventListener('abort', () => fulfil(), { once: true }));
  await Promise.race([daemon.ended, stopped]);
}
