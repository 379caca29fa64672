import { DroverError, messageOf, type Clock } from '@drover/lease-kit';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { stopBytes, stoppedText } from '../wire/index.ts';
import { textFromBytes } from '../wire/wire-text.ts';
import { lost } from './agent-lost.ts';
import type { AgentConnection } from './run-legacy-job.ts';

/** How long a connection to an original agent waits for what. */
export interface LegacyWaits {
  /** For the connection to be made. Default 10 s. */
  readonly connectTimeoutMs: number;
  /** Nothing for so long is told, once each time; an agent has no sign of life, so a quiet task looks so. Default 20 s. */
  readonly silenceNoteMs: number;
  /** Nothing for so long ends the connection. Absent: never. */
  readonly silenceLimitMs?: number | undefined;
  /** How long after it was asked to stop an agent may go on. Default 60 s. */
  readonly stopGraceMs: number;
}

/** What a connection needs. */
export interface LegacyConnectionDeps {
  readonly clock: Clock;
  /** Called when nothing was sent or received for `silenceNoteMs`, and when the agent does not stop. */
  readonly onNote: (text: string) => void;
}

/**
 * One connection to an original agent: for one job. It has no sign of life and no answer to anything, so time is watched here.
 * Disposing closes it at once.
 */
export class LegacyConnection implements AgentConnection {
  readonly #socket: Socket;
  readonly #waits: LegacyWaits;
  readonly #deps: LegacyConnectionDeps;
  readonly #watch: { cancel(): void };
  #lastSignMs: number;
  #isSilenceTold = false;
  #stoppedAtMs: number | undefined;
  #isSent = false;
  #isStopSent = false;
  #tail = '';
  #failure: DroverError | undefined;

  private constructor(socket: Socket, waits: LegacyWaits, deps: LegacyConnectionDeps) {
    this.#socket = socket;
    this.#waits = waits;
    this.#deps = deps;
    this.#lastSignMs = deps.clock.monotonicMs();
    this.#watch = this.#watchTime();
    socket.setNoDelay(true);
    // The platform finds out when the machine at the other end is gone, which sends nothing any more.
    socket.setKeepAlive(true, keepAliveMs);
    socket.on('error', (error) => {
      this.#failure ??= lost(`the connection was lost: ${error.message}`);
    });
  }

  /** Connects. Throws `AGENT_UNREACHABLE`; an abort throws the signal's reason. */
  static async open(
    address: { readonly host: string; readonly port: number },
    waits: LegacyWaits,
    deps: LegacyConnectionDeps,
    signal: AbortSignal,
  ): Promise<LegacyConnection> {
    signal.throwIfAborted();
    const socket = connect(address.port, address.host);
    const timeout = AbortSignal.timeout(waits.connectTimeoutMs);
    try {
      await once(socket, 'connect', { signal: AbortSignal.any([signal, timeout]) });
    } catch (error) {
      socket.destroy();
      signal.throwIfAborted();
      const why = timeout.aborted ? `it did not answer within ${waits.connectTimeoutMs} ms` : messageOf(error);
      throw new DroverError({
        code: 'AGENT_UNREACHABLE',
        advice: 'unavailable',
        message: `cannot connect to ${address.host}:${address.port}: ${why}`,
        cause: error,
      });
    }
    return new LegacyConnection(socket, waits, deps);
  }

  get saidStopped(): boolean {
    return this.#tail.includes(stoppedText);
  }

  /** True once {@link stop} was called. */
  get isStopped(): boolean {
    return this.#stoppedAtMs !== undefined;
  }

  /** Resolves when there is room for more. Throws `AGENT_LOST`. */
  async write(bytes: Uint8Array): Promise<void> {
    if (!this.#socket.writable) throw this.#lostError();
    if (this.#socket.write(bytes)) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.#socket.off('drain', done).off('close', done);
        resolve();
      };
      this.#socket.on('drain', done).on('close', done);
    });
    this.#sign();
  }

  async *bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const chunk of this.#socket as AsyncIterable<Buffer>) {
        this.#sign();
        this.#tail = (this.#tail + textFromBytes(chunk.subarray(-tailSize))).slice(-tailSize);
        yield chunk;
        // The consumer may have taken its time.
        this.#sign();
      }
    } catch {
      throw this.#lostError();
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Asks the agent to stop the job, which it does at the next item of a task; before {@link onSent}, then. */
  stop(): void {
    this.#stoppedAtMs ??= this.#deps.clock.monotonicMs();
    // Before the end of the job it would be taken for a part of it.
    if (!this.#isSent || this.#isStopSent || !this.#socket.writable) return;
    this.#isStopSent = true;
    this.#socket.write(stopBytes);
  }

  onSent(): void {
    this.#isSent = true;
    if (this.isStopped) this.stop();
  }

  /** Closes the connection for a reason of this end. */
  fail(failure: DroverError): void {
    this.#failure ??= failure;
    this.#socket.destroy();
  }

  [Symbol.dispose](): void {
    this.#watch.cancel();
    this.#socket.destroy();
  }

  #sign(): void {
    this.#lastSignMs = this.#deps.clock.monotonicMs();
    this.#isSilenceTold = false;
  }

  #lostError(): DroverError {
    return this.#failure ?? lost('the connection was closed');
  }

  #watchTime(): { cancel(): void } {
    const { silenceNoteMs, silenceLimitMs, stopGraceMs } = this.#waits;
    const everyMs = Math.max(10, Math.min(1000, silenceNoteMs / 4, (silenceLimitMs ?? Infinity) / 4, stopGraceMs / 4));
    const look = (): void => {
      const nowMs = this.#deps.clock.monotonicMs();
      const silentMs = nowMs - this.#lastSignMs;
      if (silentMs >= silenceNoteMs && !this.#isSilenceTold) {
        this.#isSilenceTold = true;
        this.#deps.onNote(
          `nothing was heard for ${Math.round(silentMs / 1000)} s; tasks that tell nothing look so too`,
        );
      }
      if (silenceLimitMs !== undefined && silentMs >= silenceLimitMs) {
        return this.fail(lost(`nothing came or went for ${silenceLimitMs} ms`));
      }
      if (this.#stoppedAtMs !== undefined && nowMs - this.#stoppedAtMs >= stopGraceMs) {
        const text = `it did not stop within ${stopGraceMs} ms, and may go on with what it runs`;
        this.#deps.onNote(text);
        return this.fail(lost(text));
      }
      timer = this.#deps.clock.schedule(everyMs, look);
    };
    let timer = this.#deps.clock.schedule(everyMs, look);
    return { cancel: () => timer.cancel() };
  }
}

const keepAliveMs = 10_000;
/** Enough for the agent's last words. */
const tailSize = 256;
