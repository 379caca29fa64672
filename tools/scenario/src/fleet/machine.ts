import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync, watch, writeFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { StayingProcess, supervisorCommandLine } from './drover-process.ts';

/** What a machine is made of. */
export interface MachineOptions {
  readonly id: string;
  /** A folder of its own, which survives its restarts: its disk. */
  readonly dir: string;
  /** Arguments of the agent, which runs under a supervisor. */
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** What the kernel does with processes when the machine goes down: a polite signal, and after a while the other one. */
const goingDownMs = 5_000;

/**
 * A machine of the fleet, played by a real process that runs on it. What the platform's own commands for restart and shutdown
 * do on a real machine, writing a word to its power switch does here ({@link switchCommand}): its processes are ended, and
 * after a restart it has a new boot id.
 */
export class Machine implements AsyncDisposable {
  readonly id: string;
  readonly #options: MachineOptions;
  #process: StayingProcess | undefined;
  #bootCount = 0;
  #watching: (() => void) | undefined;
  #turning: Promise<void> = Promise.resolve();

  constructor(options: MachineOptions) {
    this.id = options.id;
    this.#options = options;
    mkdirSync(options.dir, { recursive: true });
  }

  /** The file that holds its boot id, for the agent's configuration. */
  static bootIdFile(dir: string): string {
    return join(dir, 'boot_id');
  }

  /** Where the supervisor keeps the agent's versions. */
  static supervisorHome(dir: string): string {
    return join(dir, 'supervisor');
  }

  /** What the agent runs in place of the platform's own command. */
  static switchCommand(dir: string, to: 'restart' | 'shutdown'): readonly string[] {
    return ['/bin/sh', '-c', `echo ${to} > ${join(dir, 'switch')}`];
  }

  /** How often it was started. */
  get bootCount(): number {
    return this.#bootCount;
  }

  get isOn(): boolean {
    return this.#process?.running ?? false;
  }

  /** Starts it. */
  powerOn(): void {
    this.#watch();
    this.#boot();
  }

  /** Ends what runs on it in good order. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#watching?.();
    await this.#turning;
    await this.#end();
  }

  #boot(): void {
    const { dir, args, env = {} } = this.#options;
    this.#bootCount += 1;
    writeFileSync(Machine.bootIdFile(dir), `${randomUUID()}\n`);
    this.#process = new StayingProcess({
      commandLine: supervisorCommandLine,
      args: ['--home', Machine.supervisorHome(dir), '--', 'agent', ...args],
      cwd: dir,
      env,
      logFile: join(dir, 'machine.log'),
    });
  }

  #watch(): void {
    this.#watching?.();
    const file = join(this.#options.dir, 'switch');
    rmSync(file, { force: true });
    const look = (): void => {
      const word = existsSync(file) ? readFileSync(file, 'utf8').trim() : '';
      if (word === '') return;
      rmSync(file, { force: true });
      this.#turning = this.#turning.then(() => (word === 'restart' ? this.#restart() : this.#shutDown()));
    };
    const watcher = watch(this.#options.dir, look);
    this.#watching = () => watcher.close();
  }

  async #restart(): Promise<void> {
    await this.#end();
    this.#boot();
  }

  async #shutDown(): Promise<void> {
    this.#watching?.();
    await this.#end();
  }

  async #end(): Promise<void> {
    const running = this.#process;
    if (running === undefined || !running.running) return;
    running.signal('SIGTERM');
    const impatient = setTimeout(() => running.signal('SIGKILL'), goingDownMs);
    await running.ended;
    clearTimeout(impatient);
  }
}
