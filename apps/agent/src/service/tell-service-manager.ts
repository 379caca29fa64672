import type { LeaseAgentEvent } from '@drover/lease-agent';
import type { Logger } from '@drover/lease-kit';
import { openServiceNotifier } from '@drover/service-notify';
import { version } from '../version.ts';

/** How an agent tells the manager of its service how it is. */
export interface ToldServiceManager extends AsyncDisposable {
  /** It does its work as far as it can; the text counts until something has happened. */
  ready(status: string): void;
  /** What happens to it. */
  hear(event: LeaseAgentEvent): void;
  /** It drains, and then ends. */
  stopping(status: string): void;
}

/** Tells the manager that started this process, if one listens. */
export function tellServiceManager(logger: Logger): ToldServiceManager {
  const notifier = openServiceNotifier(
    { env: process.env, pid: process.pid },
    { onFailure: (error) => logger.warn({ err: error }, 'the service manager cannot be told how the agent is') },
  );
  let isStopping = false;
  let heard: string | undefined;
  return {
    ready: (status) => notifier.ready(`${version}, ${heard ?? status}`),
    hear(event) {
      if (event.type === 'session-opened') heard = 'with a session';
      else if (event.type === 'session-failed' || event.type === 'link-lost')
        heard = `without a session: ${event.code}`;
      else return;
      if (!isStopping) notifier.status(`${version}, ${heard}`);
    },
    stopping(status) {
      isStopping = true;
      notifier.stopping(`${version}, ${status}`);
    },
    [Symbol.asyncDispose]: () => notifier[Symbol.asyncDispose](),
  };
}
