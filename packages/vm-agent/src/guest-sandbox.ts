import { DroverError, messageOf, type Clock, type ScheduledCall } from '@drover/lease-kit';
import type {
  SandboxCgroup,
  ExecEnd,
  ExecRequest,
  FileFound,
  FileToPut,
  Isolation,
  Sandbox,
  SandboxEnd,
  SandboxExec,
  SandboxSpec,
  SandboxStatistics,
} from '@drover/vm-runtime';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { GuestConnection } from './guest-connection.ts';

const lastWordsBytes = 4_096;
const timerMsMax = 2 ** 31 - 1;

/** What a driver has started for a sandbox. */
export interface GuestSandboxParts {
  readonly spec: SandboxSpec;
  /** Its end is the sandbox's; what it says on standard error is kept for the message. */
  readonly child: ChildProcess;
  /** A stream to the agent in it, as soon as there is one. */
  readonly connect: (signal: AbortSignal) => Promise<Duplex>;
  /** Holds all its processes on the host, as soon as they have started. Absent: the process alone is ended. */
  readonly group: SandboxCgroup | undefined;
  readonly isolation: Isolation;
  /** Where it is not `/run/drover`. */
  readonly workFolder?: string;
  /** True if the agent has a machine of its own: its figures are the sandbox's, and the kernel in it says what memory did. */
  readonly isMachine: boolean;
  /** Done before the sandbox counts as started: a machine that was kept is told the time. */
  readonly whenOpen?: (connection: GuestConnection, signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  /** Removes what is left on the host, when its processes are gone. */
  readonly onGone: () => Promise<void> | void;
}

/** A sandbox with an agent in it, for drivers that start one as a process. */
export class GuestSandbox implements Sandbox {
  readonly id: string;
  readonly isolation: Isolation;
  readonly workFolder: string;
  readonly imageDigest: string;
  readonly #parts: GuestSandboxParts;
  readonly #gone = Promise.withResolvers<SandboxEnd>();
  readonly #exited: Promise<unknown>;
  #connection: GuestConnection | undefined;
  #lifetime: ScheduledCall | undefined;
  #wish: SandboxEnd | undefined;
  #stopping: Promise<void> | undefined;
  #lastWords = '';

  constructor(parts: GuestSandboxParts) {
    const { spec, child, isolation } = parts;
    this.id = spec.id;
    this.imageDigest = spec.image.digest;
    this.isolation = isolation;
    this.workFolder = parts.workFolder ?? '/run/drover';
    this.#parts = parts;
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#lastWords = (this.#lastWords + chunk.toString()).slice(-lastWordsBytes);
    });
    // 'error' when it cannot be started; 'close' when it has ended and said everything.
    this.#exited = Promise.race([once(child, 'close'), once(child, 'error')]).catch((error: Error) => {
      this.#lastWords += error.message;
    });
  }

  get ended(): Promise<SandboxEnd> {
    return this.#gone.promise;
  }

  /** Waits for the agent's hello. Throws `SANDBOX_START_FAILED`, `SANDBOX_START_TIMED_OUT`; it is stopped then. */
  async open(signal: AbortSignal, startMs: number): Promise<void> {
    void this.#exited.then(() =>
      this.#end({ cause: 'died', message: `it ended by itself: ${this.#lastWords.trim()}` }),
    );
    const { clock, connect, spec } = this.#parts;
    const began = clock.monotonicMs();
    try {
      const stream = await connect(signal);
      this.#connection = await GuestConnection.open(stream, signal, { helloMs: startMs }, { clock });
      await this.#parts.whenOpen?.(this.#connection, signal);
      // An agent that is gone ends the sandbox: nothing could be asked of it any more.
      const connection = this.#connection;
      void connection.ended.then((why) => {
        if (this.#connection === connection) void this.#end({ cause: 'died', message: why });
      });
      this.#lifetime = clock.schedule(Math.min(spec.lifetimeMs, timerMsMax), () => {
        void this.#end({ cause: 'lifetime', message: `it is ${spec.lifetimeMs} ms old` });
      });
    } catch (error) {
      await this.stop();
      signal.throwIfAborted();
      const late = clock.monotonicMs() - began >= startMs;
      const said = this.#lastWords.trim();
      const words = said === '' ? messageOf(error) : `${messageOf(error)}; its last words: ${said}`;
      throw new DroverError({
        code: late ? 'SANDBOX_START_TIMED_OUT' : 'SANDBOX_START_FAILED',
        advice: 'unavailable',
        message: `the sandbox did not start${late ? ` within ${startMs} ms` : ''}: ${words}`,
        cause: error,
      });
    }
  }

  /** Lets go of the agent without ending the sandbox: what was asked of it ends. */
  async disconnect(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    await connection?.close();
  }

  exec(request: ExecRequest, signal: AbortSignal): SandboxExec {
    const exec = this.#open().exec(request, signal);
    const { group, isMachine } = this.#parts;
    if (isMachine) return exec;
    const oomKills = group?.oomKills() ?? 0;
    const ended = exec.ended.then((end) => this.#withMemory(end, oomKills));
    return { output: exec.output, signal: (name) => exec.signal(name), ended };
  }

  put(files: AsyncIterable<FileToPut> | Iterable<FileToPut>, signal: AbortSignal): Promise<void> {
    return this.#call((connection) => connection.put(files, signal));
  }

  async *get(path: string, sizeBytesMax: number, signal: AbortSignal): AsyncGenerator<FileFound> {
    yield* this.#open().get(path, sizeBytesMax, signal);
  }

  remove(path: string, signal: AbortSignal): Promise<void> {
    return this.#call((connection) => connection.remove(path, signal));
  }

  async statistics(signal: AbortSignal): Promise<SandboxStatistics> {
    const guest = await this.#call((connection) => connection.statistics(signal));
    if (this.#parts.isMachine) return guest;
    const figures = this.#parts.group?.figures();
    // The agent sees the host's figures, but its own disk.
    const unknown = { cpuMs: undefined, memoryBytes: undefined, memoryPeakBytes: undefined, processes: undefined };
    return { ...unknown, ...figures, diskBytes: guest.diskBytes };
  }

  stop(): Promise<void> {
    return this.#end({ cause: 'stopped', message: 'it was stopped' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #call<Result>(call: (connection: GuestConnection) => Promise<Result>): Promise<Result> {
    return call(this.#open());
  }

  #open(): GuestConnection {
    if (this.#connection === undefined || this.#wish !== undefined) {
      throw new DroverError({
        code: 'SANDBOX_GONE',
        advice: 'unavailable',
        message: `the sandbox is gone: ${this.#wish?.message ?? 'it has not started'}`,
      });
    }
    return this.#connection;
  }

  /** The kernel says of the whole group who was killed for want of memory. */
  #withMemory(end: ExecEnd, oomKillsBefore: number): ExecEnd {
    const isMemory = (this.#parts.group?.oomKills() ?? 0) > oomKillsBefore;
    if (end.cause === 'sandbox-gone' || end.cause === 'timed-out') return end;
    if (!isMemory || end.exitCode === 0)
      return end.cause === 'out-of-memory' ? { ...end, cause: undefined, message: '' } : end;
    return { ...end, cause: 'out-of-memory', message: 'the memory of the sandbox was used up' };
  }

  #end(wish: SandboxEnd): Promise<void> {
    this.#wish ??=
      (this.#parts.group?.oomKills() ?? 0) > 0 && wish.cause === 'died' ? { ...wish, cause: 'out-of-memory' } : wish;
    this.#stopping ??= this.#stop(this.#wish);
    return this.#stopping;
  }

  async #stop(why: SandboxEnd): Promise<void> {
    const { child, group, onGone } = this.#parts;
    this.#lifetime?.cancel();
    child.kill('SIGKILL');
    // The child may have handed over to others, who hold its outputs open: they end with the group.
    group?.remove();
    await this.#connection?.close();
    await this.#exited;
    for (const stream of child.stdio) stream?.destroy();
    while (group?.remove() === false) await wait(2);
    await onGone();
    this.#gone.resolve(why);
  }
}
