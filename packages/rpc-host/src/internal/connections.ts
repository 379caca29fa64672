import type { ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import type { Clock, Logger, ScheduledCall } from '@drover/lease-kit';
import type { RpcHostLimits } from '../rpc-host-limits.ts';

/** One HTTP/2 connection: small, since there are thousands. */
interface Tracked {
  openStreams: number;
  /** When the last call ended, or when the connection came; counts while there is none. */
  idleSinceMs: number;
  pingedAtMs: number;
  awaitsPong: boolean;
}

/**
 * Every open socket and HTTP/2 session of a host. One timer for all of them pings, ends connections that do not answer
 * and closes those that are idle.
 */
export class Connections {
  readonly #sockets = new Set<Socket>();
  /** Those whose protocol is known: with TLS, the ones inside. */
  readonly #spoken = new Set<Socket>();
  readonly #sessions = new Map<ServerHttp2Session, Tracked>();
  readonly #limits: RpcHostLimits;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #tick: ScheduledCall | undefined;
  #draining = false;
  #whenEmpty: (() => void)[] = [];

  constructor(limits: RpcHostLimits, clock: Clock, logger: Logger) {
    this.#limits = limits;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Open sockets, handshakes included. */
  get size(): number {
    return this.#sockets.size;
  }

  /** Starts the timer. */
  start(): void {
    const { keepaliveIntervalMs, keepaliveTimeoutMs, idleConnectionTimeoutMs } = this.#limits;
    const everyMs = Math.max(10, Math.min(keepaliveIntervalMs, keepaliveTimeoutMs, idleConnectionTimeoutMs) / 4);
    const tick = (): void => {
      const nowMs = this.#clock.monotonicMs();
      for (const [session, tracked] of this.#sessions) this.#look(session, tracked, nowMs);
      this.#tick = this.#clock.schedule(everyMs, tick);
    };
    this.#tick = this.#clock.schedule(everyMs, tick);
  }

  /** Keeps a socket until it closes. */
  addSocket(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      if (this.#sockets.size > 0) return;
      for (const resolve of this.#whenEmpty.splice(0)) resolve();
    });
  }

  /** Keeps a socket, the one inside with TLS, until it closes. */
  addSpoken(socket: Socket): void {
    this.#spoken.add(socket);
    socket.once('close', () => this.#spoken.delete(socket));
  }

  /** Ends those that are meant at once, with what runs on them. Answers how many. */
  end(isMeant: (socket: Socket) => boolean): number {
    const meant = [...this.#spoken].filter(isMeant);
    for (const socket of meant) socket.destroy();
    return meant.length;
  }

  /** Keeps an HTTP/2 session until it closes. */
  addSession(session: ServerHttp2Session): void {
    const nowMs = this.#clock.monotonicMs();
    const tracked: Tracked = { openStreams: 0, idleSinceMs: nowMs, pingedAtMs: nowMs, awaitsPong: false };
    this.#sessions.set(session, tracked);
    session.setLocalWindowSize(this.#limits.connectionWindowSizeBytes);
    session.once('close', () => this.#sessions.delete(session));
    session.on('stream', (stream) => {
      tracked.openStreams++;
      stream.once('close', () => {
        tracked.openStreams--;
        tracked.idleSinceMs = this.#clock.monotonicMs();
      });
    });
    if (this.#draining) session.close();
  }

  /** Sends GOAWAY on every HTTP/2 connection: open calls go on, new ones go elsewhere. */
  drain(): void {
    this.#draining = true;
    for (const session of this.#sessions.keys()) session.close();
  }

  /** Resolves when no socket is open. */
  empty(): Promise<void> {
    return this.#sockets.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#whenEmpty.push(resolve));
  }

  /** Ends everything at once, and the timer. */
  destroy(): void {
    this.#tick?.cancel();
    for (const session of this.#sessions.keys()) session.destroy();
    for (const socket of this.#sockets) socket.destroy();
  }

  #look(session: ServerHttp2Session, tracked: Tracked, nowMs: number): void {
    const { keepaliveIntervalMs, keepaliveTimeoutMs, idleConnectionTimeoutMs } = this.#limits;
    if (session.destroyed) return;
    if (tracked.awaitsPong) {
      if (nowMs - tracked.pingedAtMs < keepaliveTimeoutMs) return;
      this.#logger.info(
        { remoteAddress: session.socket?.remoteAddress },
        'Connection does not answer pings, destroyed',
      );
      session.destroy();
      return;
    }
    if (tracked.openStreams === 0 && nowMs - tracked.idleSinceMs >= idleConnectionTimeoutMs) {
      if (!session.closed) session.close();
      return;
    }
    if (nowMs - tracked.pingedAtMs < keepaliveIntervalMs) return;
    tracked.pingedAtMs = nowMs;
    tracked.awaitsPong = session.ping(() => {
      tracked.awaitsPong = false;
    });
  }
}
