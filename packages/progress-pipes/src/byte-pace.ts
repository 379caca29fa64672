import type { Clock, ScheduledCall } from '@drover/lease-kit';
import type { Socket } from 'node:net';

/** Who works together in a {@link BytePace}. */
export interface BytePaceDeps {
  readonly onBytes: (bytes: Uint8Array) => void;
  readonly clock: Clock;
  readonly bytesPerSecondMax: number;
}

const windowMs = 50;

/** Passes what a socket reads on, and does not read faster than its bound: whoever writes more waits. */
export class BytePace {
  readonly #socket: Socket;
  readonly #deps: BytePaceDeps;
  readonly #windowBytes: number;
  #left: number;
  #windowEndMs = 0;
  #resumption: ScheduledCall | undefined;

  constructor(socket: Socket, deps: BytePaceDeps) {
    this.#socket = socket;
    this.#deps = deps;
    this.#windowBytes = this.#left = Math.max(1, (deps.bytesPerSecondMax * windowMs) / 1_000);
    socket.on('data', (bytes: Buffer) => this.#read(bytes));
  }

  /** Takes what the socket has read already; nothing is read after it. */
  stop(): void {
    this.#resumption?.cancel();
    this.#socket.removeAllListeners('data');
    this.#socket.pause();
    for (let kept = this.#socket.read() as Buffer | null; kept !== null; kept = this.#socket.read() as Buffer | null) {
      this.#deps.onBytes(kept);
    }
  }

  #read(bytes: Buffer): void {
    const nowMs = this.#deps.clock.monotonicMs();
    if (nowMs >= this.#windowEndMs) {
      this.#windowEndMs = nowMs + windowMs;
      this.#left = this.#windowBytes;
    }
    this.#left -= bytes.length;
    this.#deps.onBytes(bytes);
    if (this.#left > 0 || this.#resumption !== undefined) return;
    this.#socket.pause();
    this.#resumption = this.#deps.clock.schedule(windowMs, () => {
      this.#resumption = undefined;
      this.#socket.resume();
    });
  }
}
