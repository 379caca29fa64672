import { addConfigOptions, configFromCommand, listenForStop, logOptions } from '@drover/app-config';
import { defaultWorkerConfigPath, workerConfigWarnings } from '@drover/compile-service/worker';
import { createLogger } from '@drover/telemetry';
import { Command } from 'commander';
import { existsSync } from 'node:fs';
import { runWorker } from './run-worker.ts';
import { workerAppConfig } from './worker-app-config.ts';

/**
 * `drover worker`: compiles for others until SIGTERM or SIGINT. The first one takes no new compiles and waits for those under way, at
 * most `stop.grace`; the second ends them, and their clients compile themselves.
 */
export function createWorkerCommand(): Command {
  const command = new Command('worker').description('compile for others on this machine');
  return addConfigOptions(command, workerAppConfig).action(async () => {
    const file = defaultWorkerConfigPath();
    const request = configFromCommand(workerAppConfig, command, {
      env: process.env,
      cwd: process.cwd(),
      defaultFile: existsSync(file) ? file : undefined,
    });
    if (request.kind === 'print') {
      process.stdout.write(request.text);
      return;
    }
    const config = request.config.value;
    const logger = createLogger({ ...logOptions(config.log), base: { app: 'worker' } });
    for (const warning of workerConfigWarnings(config)) logger.warn({}, warning);
    using stop = listenForStop();
    await using worker = await runWorker(config, logger);
    void worker.registered.then(() => process.send?.({ type: 'ready', workerId: worker.workerId, url: worker.url }));
    const onHangUp = (): void => logger.reopenFile();
    process.on('SIGHUP', onHangUp);
    using _hangUp = { [Symbol.dispose]: () => void process.off('SIGHUP', onHangUp) };
    await aborted(stop.drain);
    logger.info({ signal: String(stop.drain.reason) }, 'draining; a second signal ends the compiles under way');
    await Promise.race([worker.stop(config.stop.grace), aborted(stop.cancel)]);
    if (stop.cancel.aborted) process.exit(1);
    logger.info({}, 'stopped');
  });
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
