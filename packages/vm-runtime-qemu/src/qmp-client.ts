import { DroverError } from '@drover/lease-kit';
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';

interface QmpMessage {
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly id?: number;
}

/** QEMU's control connection: JSON lines, docs/interop/qmp-spec.rst of QEMU. One machine, for a short time. */
export class QmpClient implements Disposable {
  readonly #socket: Socket;
  readonly #calls = new Map<number, PromiseWithResolvers<unknown>>();
  #lastId = 0;
  #why: string | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    createInterface({ input: socket }).on('line', (line) => this.#take(line));
    socket.on('error', (error) => this.#end(error.message));
    socket.on('close', () => this.#end('it was closed'));
  }

  /** Takes over a connected socket and leaves the greeting behind. */
  static async open(socket: Socket): Promise<QmpClient> {
    const client = new QmpClient(socket);
    await client.execute('qmp_capabilities');
    return client;
  }

  /** Throws `QEMU_FAILED` with what QEMU says. */
  execute(command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    if (this.#why !== undefined) return Promise.reject(failed(this.#why));
    const id = (this.#lastId += 1);
    const call = Promise.withResolvers<unknown>();
    this.#calls.set(id, call);
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    return call.promise;
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #take(line: string): void {
    let message: QmpMessage;
    try {
      message = JSON.parse(line) as QmpMessage;
    } catch {
      return this.#end('it sent what is no JSON');
    }
    // The greeting and events have no id.
    const call = message.id === undefined ? undefined : this.#calls.get(message.id);
    if (call === undefined) return;
    this.#calls.delete(message.id!);
    if (message.error === undefined) call.resolve(message.return);
    else call.reject(failed(`${message.error.class}: ${message.error.desc}`));
  }

  #end(why: string): void {
    this.#why ??= why;
    for (const call of this.#calls.values()) call.reject(failed(why));
    this.#calls.clear();
  }
}

function failed(message: string): DroverError {
  return new DroverError({
    code: 'QEMU_FAILED',
    advice: 'unavailable',
    message: `QEMU's control connection: ${message}`,
  });
}
