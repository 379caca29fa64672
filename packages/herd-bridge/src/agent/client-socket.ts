import { DroverError, type Clock } from '@drover/lease-kit';
import type { Socket } from 'node:net';

/** How long a client may keep an agent waiting. */
export interface ClientPace {
  /** How long a client may take nothing of what is written, and the window in which it must send `receivedBytesMin`, in ms. */
  readonly stallMs: number;
  /** The least bytes that must come in each window while something is waited for, or the client is ended as one that trickles. */
  readonly receivedBytesMin: number;
}

/** What is written at a time, and must be taken within the client's time. */
const pieceBytesMax = 256 * 1024;

/**
 * A client's connection: read piece by piece, written with back pressure, and ended by time when the client holds things up. The
 * client's end of sending is no end of the connection.
 */
export class ClientSocket {
  readonly address: string;
  readonly #socket: Socket;
  readonly #pace: ClientPace;
  readonly #clock: Clock;
  readonly #lost = new AbortController();
  readonly #closed = Promise.withResolvers<void>();
  readonly #pieces: Uint8Array[] = [];
  #hasEnded = false;
  #failure: unknown;
  #waiting: (() => void) | undefined;
  #receivedBytes = 0;
  #isDiscarding = false;

  constructor(socket: Socket, pace: ClientPace, clock: Clock) {
    this.#socket = socket;
    this.#pace = pace;
    this.#clock = clock;
    this.address = socket.remoteAddress ?? '';
    socket.pause();
    socket.setNoDelay(true);
    // Finds machines that went without a word.
    socket.setKeepAlive(true, 10_000);
    socket.on('data', (piece) => {
      this.#receivedBytes += piece.byteLength;
      if (this.#isDiscarding) return;
      socket.pause();
      this.#pieces.push(piece);
      this.#wake();
    });
    socket.on('end', () => {
      this.#hasEnded = true;
      this.#wake();
    });
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => {
      this.#fail(clientGone());
      this.#closed.resolve();
    });
  }

  /** Aborted when the connection is no more, whoever ended it. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Pieces as they come. Ends with the client's sending; throws what broke the connection. For one reader. */
  async *pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const piece = this.#pieces.shift();
      if (piece !== undefined) yield piece;
      else if (this.#hasEnded) return;
      else if (this.#failure !== undefined) throw this.#failure;
      else {
        const came = Promise.withResolvers<void>();
        this.#waiting = came.resolve;
        this.#socket.resume();
        await came.promise;
      }
    }
  }

  /** Until disposed, the client must keep sending while it is waited for; if not, the connection ends. */
  expectBytes(): Disposable {
    let before = this.#receivedBytes;
    const look = (): void => {
      const came = this.#receivedBytes - before;
      before = this.#receivedBytes;
      if (this.#waiting !== undefined && came < this.#pace.receivedBytesMin) {
        this.end(clientStalled(`sent ${came} bytes in ${this.#pace.stallMs} ms`));
      } else timer = this.#clock.schedule(this.#pace.stallMs, look);
    };
    let timer = this.#clock.schedule(this.#pace.stallMs, look);
    return { [Symbol.dispose]: () => timer.cancel() };
  }

  /** Ends the connection after a time, unless disposed before. */
  endAfter(delayMs: number, what: string): Disposable {
    const timer = this.#clock.schedule(delayMs, () => this.end(clientStalled(`${what} within ${delayMs} ms`)));
    return { [Symbol.dispose]: () => timer.cancel() };
  }

  /** Returns when the system has taken the bytes. Throws what broke the connection, or `HERD_CLIENT_STALLED`. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.byteLength; at += pieceBytesMax) {
      await this.#writePiece(bytes.subarray(at, at + pieceBytesMax));
    }
  }

  /** Ends sending, reads what the client still sends, so that what was written arrives, and closes in `lingerMs` at most. */
  async finish(lingerMs: number): Promise<void> {
    if (this.#socket.destroyed) return;
    this.#isDiscarding = true;
    this.#pieces.length = 0;
    const timer = this.#clock.schedule(lingerMs, () => this.#socket.destroy());
    this.#socket.end();
    this.#socket.resume();
    await this.#closed.promise;
    timer.cancel();
  }

  /** Breaks the connection off, so that the client sees an error and not an end. */
  end(error: unknown): void {
    this.#fail(error);
    this.#socket.resetAndDestroy();
  }

  async #writePiece(piece: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const taken = Promise.withResolvers<void>();
    const timer = this.#clock.schedule(this.#pace.stallMs, () => {
      this.end(clientStalled(`took nothing for ${this.#pace.stallMs} ms`));
    });
    this.#socket.write(piece, (error) => {
      timer.cancel();
      if (error === null || error === undefined) taken.resolve();
      else taken.reject(this.#failure ?? error);
    });
    await taken.promise;
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#lost.abort(error);
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }
}

function clientGone(): DroverError {
  return new DroverError({ code: 'HERD_CLIENT_GONE', advice: 'unavailable', message: 'the client is gone' });
}

function clientStalled(what: string): DroverError {
  return new DroverError({
    code: 'HERD_CLIENT_STALLED',
    advice: 'unavailable',
    message: `the client holds this agent up: it ${what}`,
  });
}
