import { DroverError, type Clock, type ScheduledCall } from '@drover/lease-kit';
import { GuestConnection } from '@drover/vm-agent';
import type {
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
import type { SandboxCgroup } from './sandbox-cgroup.ts';

const lastWordsBytes = 4_096;

/** A sandbox of namespaces: bubblewrap, the agent in it, and the group that holds both. */
export class NamespaceSandbox implements Sandbox {
  readonly id: string;
  readonly isolation: Isolation;
  readonly workFolder = '/run/drover';
  readonly imageDigest: string;
  readonly #child: ChildProcess;
  readonly #group: SandboxCgroup | undefined;
  readonly #clock: Clock;
  readonly #onGone: () => void;
  readonly #gone = Promise.withResolvers<SandboxEnd>();
  readonly #exited: Promise<unknown>;
  readonly #lifetimeMs: number;
  #connection: GuestConnection | undefined;
  #lifetime: ScheduledCall | undefined;
  #wish: SandboxEnd | undefined;
  #stopping: Promise<void> | undefined;
  #lastWords = '';

  constructor(
    spec: SandboxSpec,
    child: ChildProcess,
    group: SandboxCgroup | undefined,
    isolation: Isolation,
    clock: Clock,
    onGone: () => void,
  ) {
    this.id = spec.id;
    this.imageDigest = spec.image.digest;
    this.isolation = isolation;
    this.#lifetimeMs = spec.lifetimeMs;
    this.#child = child;
    this.#group = group;
    this.#clock = clock;
    this.#onGone = onGone;
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
    void this.#exited.then(() => this.#end({ cause: 'died', message: `it ended by itself: ${this.#lastWords.trim()}` }));
    const began = this.#clock.monotonicMs();
    try {
      this.#connection = await GuestConnection.open(
        this.#child.stdio[3] as unknown as Duplex,
        signal,
        { helloMs: startMs },
        { clock: this.#clock },
      );
      this.#lifetime = this.#clock.schedule(Math.min(this.#lifetimeMs, 2 ** 31 - 1), () => {
        void this.#end({ cause: 'lifetime', message: `it is ${this.#lifetimeMs} ms old` });
      });
    } catch (error) {
      await this.stop();
      signal.throwIfAborted();
      const late = this.#clock.monotonicMs() - began >= startMs;
      throw new DroverError({
        code: late ? 'SANDBOX_START_TIMED_OUT' : 'SANDBOX_START_FAILED',
        advice: 'unavailable',
        message: `the sandbox did not start${late ? ` within ${startMs} ms` : ''}: ${this.#lastWords.trim() || 'it said nothing'}`,
        cause: error,
      });
    }
  }

  exec(request: ExecRequest, signal: AbortSignal): SandboxExec {
    const exec = this.#open().exec(request, signal);
    const oomKills = this.#group?.oomKills() ?? 0;
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
    const figures = this.#group?.figures();
    const unknown = { cpuMs: undefined, memoryBytes: undefined, memoryPeakBytes: undefined, processes: undefined };
    // The agent sees the host's figures, but its own disk.
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
    const isMemory = (this.#group?.oomKills() ?? 0) > oomKillsBefore;
    if (end.cause === 'sandbox-gone' || end.cause === 'timed-out') return end;
    if (!isMemory || end.exitCode === 0) return end.cause === 'out-of-memory' ? { ...end, cause: undefined, message: '' } : end;
    return { ...end, cause: 'out-of-memory', message: 'the memory of the sandbox was used up' };
  }

  #end(wish: SandboxEnd): Promise<void> {
    this.#wish ??= (this.#group?.oomKills() ?? 0) > 0 && wish.cause === 'died' ? { ...wish, cause: 'out-of-memory' } : wish;
    this.#stopping ??= this.#stop(this.#wish);
    return this.#stopping;
  }

  async #stop(why: SandboxEnd): Promise<void> {
    this.#lifetime?.cancel();
    this.#child.kill('SIGKILL');
    await this.#connection?.close();
    await this.#exited;
    (this.#child.stdio[3] as unknown as Duplex | null)?.destroy();
    while (this.#group?.remove() === false) await wait(2);
    this.#onGone();
    this.#gone.resolve(why);
  }
}
