import { connect, type Socket } from 'node:net';

/** A client of plain sockets, which knows nothing of this package's codec. */
export class RawClient implements AsyncDisposable {
  readonly socket: Socket;
  readonly #received: Buffer[] = [];
  readonly #ended = Promise.withResolvers<void>();
  #wake = (): void => undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (piece: Buffer) => {
      this.#received.push(piece);
      this.#wake();
    });
    socket.on('end', () => this.#ended.resolve());
    socket.on('error', () => this.#ended.resolve());
    socket.on('close', () => {
      this.#ended.resolve();
      this.#wake();
    });
  }

  static async connect(port: number, allowHalfOpen = false): Promise<RawClient> {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen });
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new RawClient(socket);
  }

  get received(): Buffer {
    return Buffer.concat(this.#received);
  }

  send(bytes: Uint8Array | string): void {
    this.socket.write(bytes);
  }

  /** Waits until what was received holds this text. */
  async until(text: string): Promise<void> {
    while (!this.received.includes(text)) {
      if (this.socket.closed) throw new Error(`closed before ${text}; received ${this.received.toString('latin1')}`);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** All that came, when the other end has closed. */
  async toEnd(): Promise<Buffer> {
    await this.#ended.promise;
    return this.received;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.socket.closed) return;
    const closed = new Promise((resolve) => this.socket.once('close', resolve));
    this.socket.destroy();
    await closed;
  }
}
