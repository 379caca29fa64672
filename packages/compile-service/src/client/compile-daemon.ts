import { randomBytes, timingSafeEqual } from 'node:crypto';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { messageOf, type Clock, type Logger, type ScheduledCall } from '@drover/lease-kit';
import type { CompileClient } from './compile-client.ts';
import {
  launcherReplyBytes,
  parseLauncherRequest,
  requestSizeBytesMax,
  type LauncherReply,
} from './launcher-protocol.ts';

/** Where it listens and how long. */
export interface CompileDaemonOptions {
  /** Its folder, 0700: `socket` and `token` are made there, both 0600. */
  readonly folder: string;
  /** Without a launcher. Default ten minutes. */
  readonly idleMs?: number;
  /** Launchers at once; further ones compile themselves. Default 1,024. */
  readonly launchersMax?: number;
}

/** What it works with. */
export interface CompileDaemonDeps {
  readonly client: Pick<CompileClient, 'handle'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** How long a launcher may take to say what it wants. */
const requestMs = 10_000;

/** Answers launchers. One daemon a folder: whoever starts it holds a lock there. */
export class CompileDaemon implements AsyncDisposable {
  readonly #options: CompileDaemonOptions;
  readonly #deps: CompileDaemonDeps;
  readonly #server: Server;
  readonly #ended = Promise.withResolvers<void>();
  readonly #sockets = new Set<Socket>();
  #token = Buffer.alloc(0);
  #idle: ScheduledCall | undefined;

  constructor(options: CompileDaemonOptions, deps: CompileDaemonDeps) {
    this.#options = options;
    this.#deps = deps;
    // A launcher ends its half never: half-open would keep its socket when it is killed.
    this.#server = createServer((socket) => void this.#serve(socket));
    this.#server.maxConnections = options.launchersMax ?? 1024;
  }

  /** Fulfilled when it is idle for long enough, or disposed. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Throws what Node throws where the folder cannot be made or the socket not be opened. */
  async start(): Promise<void> {
    const { folder } = this.#options;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await chmod(folder, 0o700);
    const path = join(folder, 'socket');
    await rm(path, { force: true });
    this.#token = Buffer.from(randomBytes(32).toString('hex'));
    await rm(join(folder, 'token'), { force: true });
    await writeFile(join(folder, 'token'), this.#token, { mode: 0o600, flag: 'wx' });
    await new Promise<void>((fulfil, reject) => this.#server.once('error', reject).listen(path, fulfil));
    await chmod(path, 0o600);
    this.#waitIdle();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#idle?.cancel();
    for (const socket of this.#sockets) socket.destroy();
    if (this.#server.listening) await new Promise((fulfil) => this.#server.close(fulfil));
    await rm(join(this.#options.folder, 'token'), { force: true });
    this.#ended.resolve();
  }

  async #serve(socket: Socket): Promise<void> {
    this.#sockets.add(socket);
    this.#idle?.cancel();
    const gone = new AbortController();
    socket.setTimeout(requestMs, () => socket.destroy());
    socket.on('error', () => {});
    socket.once('close', () => {
      this.#sockets.delete(socket);
      gone.abort(new Error('The launcher is gone'));
      if (this.#sockets.size === 0) this.#waitIdle();
    });
    try {
      const body = await readFrame(socket);
      socket.setTimeout(0);
      const reply = await this.#answer(body, gone.signal);
      if (!gone.signal.aborted) socket.end(launcherReplyBytes(reply));
    } catch (error) {
      this.#deps.logger.warn({ error: messageOf(error) }, 'a launcher was refused');
      socket.destroy();
    }
  }

  async #answer(body: Buffer, signal: AbortSignal): Promise<LauncherReply> {
    const request = parseLauncherRequest(body);
    const shown = Buffer.from(request.token);
    if (shown.length !== this.#token.length || !timingSafeEqual(shown, this.#token)) throw new Error('wrong token');
    return this.#deps.client.handle(request, signal);
  }

  #waitIdle(): void {
    if (!this.#server.listening) return;
    this.#idle = this.#deps.clock.schedule(this.#options.idleMs ?? 600_000, () => this.#ended.resolve());
  }
}

/** What stands behind the length. */
function readFrame(socket: Socket): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let size = 0;
  let wanted: number | undefined;
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    if (wanted === undefined && size >= 4) wanted = 4 + Buffer.concat(chunks).readUInt32BE();
    if ((wanted ?? 0) > requestSizeBytesMax) reject(new Error('too long'));
    else if (wanted !== undefined && size >= wanted) resolve(Buffer.concat(chunks).subarray(4, wanted));
  });
  socket.once('close', () => reject(new Error('it left')));
  return promise;
}
