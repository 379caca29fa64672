import { systemClock, type Clock } from '@drover/lease-kit';
import type { ExecRequest, FileFound, FileToPut, SandboxExec, SandboxStatistics } from '@drover/vm-runtime';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { GuestFiles } from './guest-files.ts';
import { GuestExec, checkRequest } from './guest-exec.ts';
import { guestError, sandboxGone } from './guest-error.ts';
import { encodeFrame, FrameReader, frameType, pathBytes, uint32, type GuestFrame } from './guest-frames.ts';
import type { GuestChannel, GuestListener } from './guest-channel.ts';

/** How a connection is opened. */
export interface GuestConnectionOptions {
  /** How long the agent has to say hello. Default 30 s: an emulated machine boots as long. */
  readonly helloMs?: number;
}

/** What a connection works with. */
export interface GuestConnectionDeps {
  /** Default: the system's. */
  readonly clock?: Clock;
}

const version = 1;
const channelsMax = 256;

/**
 * The host's end of a connection to the agent in a sandbox. Everything that was asked ends with it: programs are killed, calls
 * throw `SANDBOX_GONE`.
 */
export class GuestConnection implements AsyncDisposable {
  readonly #stream: Duplex;
  readonly #clock: Clock;
  readonly #reader = new FrameReader();
  readonly #listeners = new Map<number, GuestListener>();
  readonly #gone = Promise.withResolvers<string>();
  readonly #files: GuestFiles;
  #why: string | undefined;
  #lastId = 0;
  #draining: Promise<void> | undefined;

  private constructor(stream: Duplex, clock: Clock) {
    this.#stream = stream;
    this.#clock = clock;
    this.#files = new GuestFiles((listener) => this.#channel(listener));
    stream.on('data', (chunk: Buffer) => this.#take(chunk));
    stream.on('error', (error) => this.#end(error.message));
    stream.on('close', () => this.#end('its connection was closed'));
    stream.on('end', () => this.#end('it closed its connection'));
  }

  /**
   * Says hello and waits for the agent's. Whatever the agent did before is ended. Throws `SANDBOX_GONE`, `SANDBOX_NOT_READY` after
   * the time, `GUEST_PROTOCOL`; an abort throws the signal's reason. The stream is closed then.
   */
  static async open(
    stream: Duplex,
    signal: AbortSignal,
    options: GuestConnectionOptions = {},
    deps: GuestConnectionDeps = {},
  ): Promise<GuestConnection> {
    const clock = deps.clock ?? systemClock;
    const connection = new GuestConnection(stream, clock);
    try {
      await connection.#hello(signal, options.helloMs ?? 30_000);
      return connection;
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /** Resolves with why, when the connection has ended; never rejects. */
  get ended(): Promise<string> {
    return this.#gone.promise;
  }

  /** See `Sandbox.exec`. */
  exec(request: ExecRequest, signal: AbortSignal): SandboxExec {
    signal.throwIfAborted();
    const bytes = checkRequest(request);
    const exec = new GuestExec(request, this.#clock);
    exec.start(this.#channel(exec), bytes, signal);
    return exec;
  }

  /** See `Sandbox.put`. */
  put(files: AsyncIterable<FileToPut> | Iterable<FileToPut>, signal: AbortSignal): Promise<void> {
    return this.#files.put(files, signal);
  }

  /** See `Sandbox.get`. */
  get(path: string, sizeBytesMax: number, signal: AbortSignal): AsyncIterable<FileFound> {
    return this.#files.get(path, sizeBytesMax, signal);
  }

  /** See `Sandbox.remove`. */
  async remove(path: string, signal: AbortSignal): Promise<void> {
    await this.#ask(frameType.remove, [pathBytes(path)], `remove ${path}`, signal);
  }

  /** Makes a folder and those above it; harmless if it is there. Throws as `Sandbox.put` does. */
  async makeFolder(path: string, mode: number, signal: AbortSignal): Promise<void> {
    await this.#ask(frameType.makeFolder, [uint32(mode), pathBytes(path)], `make ${path}`, signal);
  }

  /** Figures of the whole machine: of use where the agent has one to itself. */
  async statistics(signal: AbortSignal): Promise<SandboxStatistics> {
    const answer = await this.#ask(frameType.statistics, [], 'statistics', signal);
    const at = (index: number): number => Number(answer.payload.readBigUInt64LE(8 * index));
    return { cpuMs: at(0), memoryBytes: at(1), memoryPeakBytes: undefined, diskBytes: at(2), processes: at(3) };
  }

  /** Tells a machine that was kept and started again what time it is, and gives it random bytes of its own. */
  async restored(signal: AbortSignal): Promise<void> {
    const now = Buffer.alloc(8);
    now.writeBigUInt64LE(BigInt(Math.round(this.#clock.wallMs() * 1_000)) * 1_000n);
    await this.#ask(frameType.restored, [now, randomBytes(256)], 'clock and entropy', signal);
  }

  /** Resolves when the agent has answered. */
  async ping(signal: AbortSignal): Promise<void> {
    await this.#ask(frameType.ping, [], 'ping', signal);
  }

  /** Ends the connection, and with it all that was asked. */
  async close(): Promise<void> {
    this.#end('it was stopped');
    if (this.#stream.closed) return;
    const closed = once(this.#stream, 'close').catch(() => undefined);
    this.#stream.destroy();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #hello(signal: AbortSignal, helloMs: number): Promise<void> {
    const nonce = randomBytes(16);
    const late = new AbortController();
    const timer = this.#clock.schedule(helloMs, () => late.abort());
    try {
      const answer = await this.#ask(
        frameType.hello,
        [uint32(version), nonce],
        'hello',
        AbortSignal.any([signal, late.signal]),
      );
      const { payload } = answer;
      const fits = answer.type === frameType.helloAnswer && payload.length === 20 && payload.subarray(4).equals(nonce);
      if (!fits || payload.readUInt32LE(0) !== version) throw sandboxGone('its agent speaks another protocol');
    } catch (error) {
      signal.throwIfAborted();
      if (late.signal.aborted) throw sandboxGone(`its agent said nothing for ${helloMs} ms`);
      throw error;
    } finally {
      timer.cancel();
    }
  }

  /** One question with one answer. Throws what the agent says no with. */
  async #ask(type: number, parts: readonly Uint8Array[], what: string, signal: AbortSignal): Promise<GuestFrame> {
    signal.throwIfAborted();
    const answered = Promise.withResolvers<GuestFrame>();
    const channel = this.#channel({
      frame: ({ type: kind, channel: id, payload }) =>
        answered.resolve({ type: kind, channel: id, payload: Buffer.from(payload) }),
      gone: (error) => answered.reject(error),
    });
    const onAbort = (): void => answered.reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await channel.send(type, ...parts);
      const answer = await answered.promise;
      if (answer.type === frameType.failed) throw guestError(answer.payload, what);
      return answer;
    } finally {
      signal.removeEventListener('abort', onAbort);
      channel.close();
    }
  }

  #channel(listener: GuestListener): GuestChannel {
    if (this.#why !== undefined) throw sandboxGone(this.#why);
    if (this.#listeners.size >= channelsMax) throw guestError(Buffer.from([11, 0, 0, 0]), 'too many calls at once');
    const id = (this.#lastId = (this.#lastId % 0xffff_ffff) + 1);
    this.#listeners.set(id, listener);
    return {
      id,
      send: (type, ...parts) => this.#send(encodeFrame(type, id, ...parts)),
      close: () => void this.#listeners.delete(id),
    };
  }

  #send(bytes: Buffer): Promise<void> | undefined {
    if (this.#why !== undefined) throw sandboxGone(this.#why);
    if (this.#stream.write(bytes)) return undefined;
    this.#draining ??= new Promise<void>((resolve) => {
      const go = (): void => {
        this.#draining = undefined;
        resolve();
      };
      this.#stream.once('drain', go);
      void this.#gone.promise.then(go);
    });
    return this.#draining;
  }

  #take(chunk: Buffer): void {
    try {
      // Channels that nobody listens on any more were left by their callers.
      for (const frame of this.#reader.take(chunk)) this.#listeners.get(frame.channel)?.frame(frame);
    } catch (error) {
      this.#end(error instanceof Error ? error.message : String(error));
      this.#stream.destroy();
    }
  }

  #end(why: string): void {
    if (this.#why !== undefined) return;
    this.#why = why;
    this.#gone.resolve(why);
    const listeners = [...this.#listeners.values()];
    this.#listeners.clear();
    for (const listener of listeners) listener.gone(sandboxGone(why));
  }
}
