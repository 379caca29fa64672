import { addConfigOptions, configFromCommand, listenForStop, logOptions } from '@drover/app-config';
import { createLogger } from '@drover/telemetry';
import { Command } from 'commander';
import type { DependencyContainer } from 'tsyringe';
import { runServer } from './run-server.ts';
import { serverConfig } from './server-config.ts';

/** What a process that was started by another tells it over the IPC channel, if there is one. */
export interface ServerListening {
  readonly type: 'listening';
  readonly url: string;
  readonly dataDir: string | undefined;
}

/**
 * `drover server`: runs a server until SIGTERM or SIGINT. The first one hands out no more leases, lets open calls end and
 * leaves the agents to other servers; the second ends open calls at once. What runs on agents goes on in both cases. A
 * program with lease types of its own registers them with `extend`.
 */
export function createServerCommand(extend?: (container: DependencyContainer) => void): Command {
  const command = new Command('server').description('run a server');
  return addConfigOptions(command, serverConfig).action(async () => {
    const request = configFromCommand(serverConfig, command, { env: process.env, cwd: process.cwd() });
    if (request.kind === 'print') {
      process.stdout.write(request.text);
      return;
    }
    const config = request.config.value;
    const logger = createLogger({ ...logOptions(config.log), base: { app: 'server' } });
    using stop = listenForStop();
    await using server = await runServer(config, logger, stop.drain, extend);
    process.send?.({ type: 'listening', url: server.url, dataDir: server.dataDir } satisfies ServerListening);
    const onHangUp = (): void => {
      logger.reopenFile();
      void server.reload();
    };
    process.on('SIGHUP', onHangUp);
    using _hangUp = { [Symbol.dispose]: () => void process.off('SIGHUP', onHangUp) };
    const failure = await Promise.race([server.failed, aborted(stop.drain)]);
    if (failure) throw failure;
    logger.info({ signal: String(stop.drain.reason) }, 'stopping; a second signal ends open calls at once');
    stop.cancel.addEventListener('abort', () => void server.stop(0), { once: true });
    await server.stop(stop.cancel.aborted ? 0 : config.stop.grace);
    logger.info({}, 'stopped');
  });
}

function aborted(signal: AbortSignal): Promise<undefined> {
  if (signal.aborted) return Promise.resolve(undefined);
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined), { once: true }));
}
