import { sendToManager } from './send-to-manager.ts';

/** Data of {@link openServiceNotifier}. */
export interface ServiceNotifierOptions {
  /**
   * Where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID stand. They are taken out, so that no child of this process speaks
   * for it.
   */
  readonly env: Record<string, string | undefined>;
  /** Of this process; a watchdog that is meant for another is left alone. */
  readonly pid: number;
}

/** Behaviour of {@link openServiceNotifier}. */
export interface ServiceNotifierDeps {
  /** The manager cannot be told something; it is tried again with the next message. */
  readonly onFailure: (error: unknown) => void;
  /** Default: systemd-notify(1). */
  readonly send?: (socket: string, assignments: readonly string[]) => Promise<void>;
}

/** Tells the service manager how this process is (sd_notify(3)). Without a manager that listens, nothing happens. */
export interface ServiceNotifier extends AsyncDisposable {
  /** The service does its work from now on; later calls change only the text. */
  ready(status: string): void;
  /** How it is, in one line for people: `systemctl status` shows it. */
  status(status: string): void;
  /** It is about to end. */
  stopping(status: string): void;
}

/** Longest text for people; what is more is cut. */
const statusCharsMax = 200;

/**
 * Opens the way to the manager that started this process, and keeps its watchdog quiet while the event loop turns: four
 * times within WATCHDOG_USEC, from now on. Messages go one after another; of texts that wait, only the newest is sent.
 * Disposing sends what waits and ends the pings.
 */
export function openServiceNotifier(
  { env, pid }: ServiceNotifierOptions,
  { onFailure, send = sendToManager }: ServiceNotifierDeps,
): ServiceNotifier {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: watchdog, WATCHDOG_PID: watched } = env;
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name];
  const waiting = new Map<string, string>();
  let sending: Promise<void> | undefined;

  const tell = (assignments: Readonly<Record<string, string>>): void => {
    if (socket === undefined || socket === '') return;
    for (const [name, value] of Object.entries(assignments)) waiting.set(name, value);
    sending ??= sendAll(socket);
  };
  const sendAll = async (to: string): Promise<void> => {
    while (waiting.size > 0) {
      const assignments = [...waiting].map(([name, value]) => `${name}=${value}`);
      waiting.clear();
      await send(to, assignments).catch(onFailure);
    }
    sending = undefined;
  };

  const watchdogMs = watched === undefined || watched === String(pid) ? Number(watchdog ?? 0) / 1_000 : 0;
  const pings =
    socket !== undefined && watchdogMs > 0 ? setInterval(() => tell({ WATCHDOG: '1' }), watchdogMs / 4) : undefined;
  // The pings keep no process alive that has nothing else to do.
  pings?.unref();

  return {
    ready: (status) => tell({ READY: '1', STATUS: oneLine(status) }),
    status: (status) => tell({ STATUS: oneLine(status) }),
    stopping: (status) => tell({ STOPPING: '1', STATUS: oneLine(status) }),
    async [Symbol.asyncDispose]() {
      clearInterval(pings);
      await sending;
    },
  };
}

/** A line break would begin another assignment. */
function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim().slice(0, statusCharsMax);
}
