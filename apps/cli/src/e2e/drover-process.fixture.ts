import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';

/** How a process ended, with all that it wrote. */
export interface EndedProcess {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** How a process is started. */
export interface DroverProcessOptions {
  /** Beside the few variables that every process of a test gets. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** What Node runs; absent means the `drover` command line. */
  readonly entry?: string;
  /** Flags of Node beside those that make it run the source. */
  readonly nodeFlags?: readonly string[];
}

const main = join(import.meta.dirname, '../main.ts');
/** Long, for a busy machine: only a failure waits so long. */
const waitMsMax = 40_000;

/** `drover …` as a process of its own, with what it writes and what it says over IPC. */
export class DroverProcess implements AsyncDisposable {
  readonly exited: Promise<EndedProcess>;
  readonly pid: number;
  stdout = '';
  stderr = '';
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #messages: { readonly type: string }[] = [];
  readonly #looks = new Set<() => void>();
  #hasEnded = false;

  constructor(args: readonly string[], options: DroverProcessOptions = {}) {
    this.#name = `drover ${args.join(' ')}`;
    const { PATH = '', HOME = '', NODE_COMPILE_CACHE = '' } = process.env;
    const flags = ['--conditions=@drover/source', '--disable-warning=ExperimentalWarning'];
    this.#child = spawn(process.execPath, [...flags, ...(options.nodeFlags ?? []), options.entry ?? main, ...args], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { PATH, HOME, NODE_COMPILE_CACHE, NO_COLOR: '1', ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    this.pid = this.#child.pid!;
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
      this.#look();
    });
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
      this.#look();
    });
    this.#child.on('message', (message: { readonly type: string }) => {
      this.#messages.push(message);
      this.#look();
    });
    this.exited = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => {
        this.#hasEnded = true;
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr });
        this.#look();
      });
    });
  }

  /** The first message of a type that it sends over IPC. */
  message<Message extends { readonly type: string }>(type: Message['type']): Promise<Message> {
    return this.#until(`a message ${type}`, () => this.#messages.find((one) => one.type === type) as Message);
  }

  /** The `count`th line of either output that a pattern matches. */
  line(pattern: RegExp, count = 1): Promise<string> {
    return this.#until(`line ${count} like ${pattern}`, () => {
      const lines = `${this.stdout}\n${this.stderr}`.split('\n');
      return lines.filter((line) => pattern.test(line))[count - 1];
    });
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** `kill -9`; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.exited;
  }

  /** Two SIGTERMs, which stop everything that runs, and SIGKILL if that does not end it. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#hasEnded) return;
    const impatient = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    this.#child.kill('SIGCONT');
    this.#child.kill('SIGTERM');
    this.#child.kill('SIGTERM');
    await this.exited;
    clearTimeout(impatient);
  }

  #look(): void {
    for (const look of this.#looks) look();
  }

  #until<Found>(what: string, find: () => Found | undefined): Promise<Found> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        clearTimeout(timer);
        this.#looks.delete(look);
        act();
      };
      const fail = (why: string): void =>
        settle(() => reject(new Error(`${this.#name}: ${why} ${what}\n${this.stdout}\n${this.stderr}`)));
      const look = (): void => {
        const found = find();
        if (found !== undefined) settle(() => resolve(found));
        else if (this.#hasEnded) fail('it ended without');
      };
      const timer = setTimeout(() => fail(`${waitMsMax / 1_000} s without`), waitMsMax);
      this.#looks.add(look);
      look();
    });
  }
}
