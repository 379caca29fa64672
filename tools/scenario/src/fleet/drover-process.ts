import { spawn, type ChildProcess } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { fileURLToPath } from 'node:url';

const fromSource = (entry: string): readonly string[] => [
  process.execPath,
  '--conditions=@drover/source',
  '--disable-warning=ExperimentalWarning',
  fileURLToPath(new URL(`../../../../apps/${entry}`, import.meta.url)),
];

/** How Node runs `drover` from source: the words before its arguments. */
export const droverCommandLine = fromSource('cli/src/main.ts');
/** The same for `drover-supervisor`. */
export const supervisorCommandLine = fromSource('supervisor/src/main.ts');

/** What every process of a scenario knows of its surroundings. */
export function environment(more: Readonly<Record<string, string>> = {}): Record<string, string> {
  const { PATH = '', HOME = '' } = process.env;
  return { PATH, HOME, NO_COLOR: '1', ...more };
}

/** How a process that stays is started. */
export interface StayingProcessOptions {
  /** What is run; absent means `drover`. */
  readonly commandLine?: readonly string[];
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** File that gets all that it writes, appended. */
  readonly logFile: string;
}

/** A process that stays: a server, an agent under its supervisor. */
export class StayingProcess {
  readonly pid: number;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  readonly #child: ChildProcess;
  readonly #messages: { readonly type: string }[] = [];
  readonly #waiting = new Set<() => void>();
  #hasEnded = false;

  constructor({ commandLine = droverCommandLine, args, cwd, env = {}, logFile }: StayingProcessOptions) {
    const [node = '', ...before] = commandLine;
    this.#child = spawn(node, [...before, ...args], {
      cwd,
      env: environment(env),
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.pid = this.#child.pid ?? 0;
    const log = createWriteStream(logFile, { flags: 'a' });
    this.#child.stdout?.pipe(log, { end: false });
    this.#child.stderr?.pipe(log, { end: false });
    this.#child.on('message', (message: { readonly type: string }) => {
      this.#messages.push(message);
      for (const look of this.#waiting) look();
    });
    this.ended = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => {
        this.#hasEnded = true;
        log.end();
        for (const look of this.#waiting) look();
        resolve({ code, signal });
      });
    });
  }

  get running(): boolean {
    return !this.#hasEnded;
  }

  /** The first message of a type that it sends over IPC; rejects if it ends without one. */
  message<Message extends { readonly type: string }>(type: Message['type']): Promise<Message> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const found = this.#messages.find((one) => one.type === type);
        if (found === undefined && !this.#hasEnded) return;
        this.#waiting.delete(look);
        if (found === undefined) reject(new Error(`a process ended before it said ${type}`));
        else resolve(found as Message);
      };
      this.#waiting.add(look);
      look();
    });
  }

  /** Sends a signal, unless it has ended. */
  signal(signal: NodeJS.Signals): void {
    if (!this.#hasEnded) this.#child.kill(signal);
  }
}
