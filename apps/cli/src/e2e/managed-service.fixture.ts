import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** What the datagrams of a socket say, one JSON text a line; file descriptors that come with them are closed (sd_notify_barrier(3)). */
const receiver = `
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print(json.dumps("bound"), flush=True)
while True:
    data, fds, _, _ = socket.recv_fds(s, 65536, 8)
    for fd in fds: os.close(fd)
    print(json.dumps(data.decode()), flush=True)
`;

/** Whether this machine has the programs that a {@link ManagedService} needs. */
export const canManage = ['python3', 'systemd-notify'].every(
  (program) => spawnSync(program, ['--version']).status === 0,
);

/** How a service that was told to stop has ended. */
export interface ServiceEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** It did not end within TimeoutStopSec. */
  readonly wasKilled: boolean;
}

/** What a service is run with, as its unit says. */
export interface ManagedServiceOptions {
  readonly unit: string;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Path of the socket that hears what the service says. */
  readonly socket: string;
  /** In place of the unit's WatchdogSec. */
  readonly watchdogMs: number;
}

/** Runs the process of a unit as systemd does: it hears it, and ends it by SIGTERM to the main process, then SIGKILL. */
export class ManagedService implements AsyncDisposable {
  readonly said: string[] = [];
  readonly #receiver: ChildProcess;
  readonly #process: ChildProcess;
  readonly #stopWithinMs: number;
  readonly #exited: Promise<unknown[]>;

  private constructor(hears: ChildProcess, options: ManagedServiceOptions) {
    this.#receiver = hears;
    const seconds = /^TimeoutStopSec=(\d+)s$/m.exec(options.unit)?.[1];
    if (seconds === undefined || !/^KillMode=mixed$/m.test(options.unit)) throw new Error('this unit is run otherwise');
    this.#stopWithinMs = Number(seconds) * 1_000;
    const { PATH = '', HOME = '', NODE_COMPILE_CACHE = '' } = process.env;
    const [program = '', ...args] = options.command;
    this.#process = spawn(program, args, {
      stdio: 'ignore',
      env: {
        ...{ PATH, HOME, NODE_COMPILE_CACHE, NOTIFY_SOCKET: options.socket },
        WATCHDOG_USEC: String(options.watchdogMs * 1_000),
        ...options.environment,
      },
    });
    this.#exited = once(this.#process, 'exit');
  }

  static async start(options: ManagedServiceOptions): Promise<ManagedService> {
    const hears = spawn('python3', ['-c', receiver, options.socket], { stdio: ['ignore', 'pipe', 'inherit'] });
    let rest = '';
    const lines: string[] = [];
    let hear = (line: string): void => void lines.push(line);
    const bound = once(hears.stdout, 'data');
    hears.stdout.setEncoding('utf8').on('data', (text: string) => {
      const parts = (rest + text).split('\n');
      rest = parts.pop()!;
      for (const part of parts) hear(JSON.parse(part) as string);
    });
    await bound;
    const service = new ManagedService(hears, options);
    hear = (message) => service.said.push(...message.trimEnd().split('\n'));
    return service;
  }

  async stop(): Promise<ServiceEnd> {
    let wasKilled = false;
    const timer = setTimeout(() => {
      wasKilled = true;
      this.#process.kill('SIGKILL');
    }, this.#stopWithinMs);
    this.#process.kill('SIGTERM');
    const [code, signal] = (await this.#exited) as [number | null, NodeJS.Signals | null];
    clearTimeout(timer);
    return { code, signal, wasKilled };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#exited;
    const gone = once(this.#receiver, 'exit');
    this.#receiver.kill('SIGKILL');
    await gone;
  }
}
