import { createServer as createHttpServer } from 'node:http';
import { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import { Code, ConnectError, createConnectRouter, type ConnectRouter, type Interceptor } from '@connectrpc/connect';
import { compressionBrotli, compressionGzip } from '@connectrpc/connect-node';
import {
  DroverError,
  messageOf,
  silentLogger,
  systemClock,
  type Clock,
  type Logger,
  type Meter,
} from '@drover/lease-kit';
import { errorInterceptor } from '@drover/rpc-errors';
import { Health, ServerReflection, ServerReflectionV1Alpha } from '@drover/standard-protocols';
import { createHealthService } from './health-service.ts';
import { HealthStatuses } from './health-statuses.ts';
import { createAcceptor, tlsOptionsFrom, type TlsMaterial } from './internal/acceptor.ts';
import { callMetrics } from './internal/call-metrics.ts';
import { GrpcBidiCalls, type BidiMethod } from './internal/grpc-bidi-calls.ts';
import { recordBidiMethods } from './internal/record-bidi-methods.ts';
import { Connections } from './internal/connections.ts';
import { createLowMemoryHttp2Server } from './internal/http2-server.ts';
import { listen } from './internal/listen.ts';
import { createRequestListener } from './internal/request-listener.ts';
import { answerOperator, boundedReadiness, type IsReady } from './operator-endpoints.ts';
import { peerOf, principalGate, type PrincipalOf, type RpcPeer } from './principal.ts';
import { createReflection } from './reflection-service.ts';
import { defaultRpcHostLimits, type RpcHostLimits } from './rpc-host-limits.ts';

/** Where a host listens. */
export interface RpcHostOptions {
  /** Address to listen on, e.g. `127.0.0.1`, `0.0.0.0`, `::`. */
  readonly host: string;
  /** TCP port; 0 lets the system choose. */
  readonly port: number;
  /** Certificate and key; absent: cleartext. */
  readonly tls?: TlsMaterial | undefined;
  /** Bounds that differ from {@link defaultRpcHostLimits}. */
  readonly limits?: Partial<RpcHostLimits> | undefined;
}

/** A method that a host serves. */
export interface ServedMethod {
  /** Full name of the service. */
  readonly service: string;
  /** Name as in the proto. */
  readonly method: string;
}

/** Who works together in a host. */
export interface RpcHostDeps {
  /** Registers the services. Health and reflection are there without it. */
  readonly routes: (router: ConnectRouter) => void;
  /** On whose behalf a call is made; there is no default, so that nothing is served to nobody by accident. */
  readonly principalOf: PrincipalOf;
  /** Told every method of every service, health and reflection included, before anything is served; may throw. */
  readonly checkMethods?: ((methods: readonly ServedMethod[]) => void) | undefined;
  /** Asked for `GET /readyz`. Absent: ready from start to stop. */
  readonly isReady?: IsReady | undefined;
  /** Run for every call, after the principal is known, the first one outermost. Absent: none. */
  readonly interceptors?: readonly Interceptor[] | undefined;
  /** Absent: silence. */
  readonly logger?: Logger | undefined;
  /** Counts calls by method and code. Absent: nothing is measured. */
  readonly meter?: Meter | undefined;
  /** Absent: the system's. */
  readonly clock?: Clock | undefined;
}

/** How a host ends. */
export interface StopOptions {
  /** How long open calls may take to end; 0 ends them at once. Default 10 s. */
  readonly graceMs?: number | undefined;
  /** Aborted: the grace is over. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * One listening port.
 *
 * ```text
 * created ── start ──▶ listening ── stop ──▶ draining ── calls ended, or grace over ──▶ stopped
 *    └───────────────────── stop ──────────────────────────────────────────────────────▶┘
 * ```
 */
export interface RpcHost extends AsyncDisposable {
  /** `http://host:port` or `https://…` for clients on this machine. Throws `HOST_NOT_LISTENING` before the start. */
  readonly url: string;
  /** The address that is listened on. Throws `HOST_NOT_LISTENING` before the start. */
  readonly address: AddressInfo;
  /** Connections that are open now. */
  readonly connectionCount: number;
  /** Aborted when {@link stop} begins: handlers of long-lived calls end themselves then, or hold up the stop. */
  readonly draining: AbortSignal;
  /**
   * Listens. Again: nothing. Throws `ADDRESS_IN_USE`, `ADDRESS_DENIED` or `ADDRESS_INVALID`, and `HOST_STOPPED` after
   * {@link stop}. An abort before it listens ends the host.
   */
  start(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
  /**
   * Stops listening, says NOT_SERVING, sends GOAWAY, waits for open calls, ends those that are left as UNAVAILABLE and leaves
   * nothing open. Again: waits for the same end, sooner if the new grace is shorter.
   */
  stop(options?: StopOptions): Promise<void>;
  /**
   * New connections get this certificate; those that are open keep theirs. Whether clients are asked for certificates stays as
   * it was. Throws `TLS_INVALID` for a certificate and key that do not fit, and for a host in cleartext.
   */
  reloadTls(tls: TlsMaterial): void;
  /**
   * Ends open connections at once, with the calls on them: those whose other end is meant, e.g. by a certificate that is
   * revoked. Answers how many.
   */
  disconnect(isMeant: (peer: RpcPeer) => boolean): number;
  /** What grpc.health.v1 says of a service by its full name; the empty name is the whole server. */
  setServing(service: string, serving: boolean): void;
}

const defaultGraceMs = 10_000;
/** Longest question about the health of a service: its name. */
const healthReadBytesMax = 1_024;
/** How long the statuses of calls that the end of the grace cut off may take to reach their callers. */
const lastWordsMs = 500;

/**
 * A port that answers gRPC, gRPC-Web and Connect over HTTP/2 and HTTP/1.1, in cleartext on one and the same port (HTTP/2 with
 * prior knowledge) or with TLS (ALPN), with grpc.health.v1, server reflection, `/healthz` and `/readyz`. Throws
 * what `routes` and `checkMethods` throw.
 */
export function createRpcHost(options: RpcHostOptions, deps: RpcHostDeps): RpcHost {
  const { logger = silentLogger, clock = systemClock } = deps;
  const limits: RpcHostLimits = { ...defaultRpcHostLimits, ...options.limits };
  const draining = new AbortController();
  const cutOff = new AbortController();
  const statuses = new HealthStatuses();
  const connections = new Connections(limits, clock, logger);

  const observe = deps.meter && callMetrics(deps.meter, clock);
  // Outermost first: whatever an interceptor throws is converted too.
  const interceptors = [errorInterceptor({ logger, observe }), ...(deps.interceptors ?? [])];
  const gate = principalGate(deps.principalOf);
  const bidiMethods = new Map<string, BidiMethod>();
  const connectRouter = createConnectRouter({
    interceptors,
    requestGate: gate,
    readMaxBytes: limits.messageReceiveSizeBytesMax,
    writeMaxBytes: limits.messageSendSizeBytesMax,
    maxTimeoutMs: limits.callTimeoutMsMax,
    acceptCompression: [compressionGzip, compressionBrotli],
    shutdownSignal: cutOff.signal,
  });
  const router = recordBidiMethods(connectRouter, bidiMethods);
  deps.routes(router);
  // Anybody may call it, and a watch keeps what it was asked.
  router.service(Health, createHealthService(statuses, draining.signal), { readMaxBytes: healthReadBytesMax });
  const reflection = createReflection([
    ...new Set([...router.handlers.map(({ service }) => service), ServerReflection, ServerReflectionV1Alpha]),
  ]);
  router.service(ServerReflection, { serverReflectionInfo: (requests) => reflection.answer(requests) });
  router.service(ServerReflectionV1Alpha, { serverReflectionInfo: (requests) => reflection.answer(requests) });
  deps.checkMethods?.(
    router.handlers.map(({ service, method }) => ({ service: service.typeName, method: method.name })),
  );
  for (const { service } of router.handlers) statuses.set(service.typeName, true);

  const isReady: IsReady = (signal) =>
    draining.signal.aborted ? { ready: false, reason: 'stopping' } : (deps.isReady?.(signal) ?? { ready: true });
  const answer = createRequestListener({
    handlers: router.handlers,
    logger,
    clock,
    headerSizeBytesMax: limits.headerSizeBytesMax,
    answerOther: (request, response) => answerOperator(request, response, () => boundedReadiness(isReady, logger)),
  });

  const http1 = createHttpServer({
    maxHeaderSize: limits.headerSizeBytesMax,
    headersTimeout: limits.firstByteTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.idleConnectionTimeoutMs,
    connectionsCheckingInterval: Math.min(limits.firstByteTimeoutMs, 30_000),
  });
  http1.on('request', (request, response) => {
    if (draining.signal.aborted) response.setHeader('connection', 'close');
    answer(request, response);
  });
  const http2 = createLowMemoryHttp2Server(limits);
  const bidiCalls = new GrpcBidiCalls({ methods: bidiMethods, interceptors, gate, limits });
  http2.on('stream', (stream, headers, _flags, rawHeaders) => {
    if (bidiCalls.accept(stream, headers)) return;
    // What Node does itself for a server with a 'request' listener; with one, every stream would carry these two.
    answer(new Http2ServerRequest(stream, headers, {}, rawHeaders), new Http2ServerResponse(stream));
  });
  http2.on('session', (session) => connections.addSession(session));

  const listener = createAcceptor({
    tls: options.tls,
    firstByteTimeoutMs: limits.firstByteTimeoutMs,
    onConnection: (socket: Socket) => connections.addSocket(socket),
    onProtocol: (protocol, socket) => {
      connections.addSpoken(socket);
      (protocol === 'h2' ? http2 : http1).emit('connection', socket);
    },
  });
  listener.maxConnections = limits.connectionsMax;
  listener.on('drop', (data) => logger.warn({ ...data }, 'Connection refused: too many connections'));

  let starting: Promise<void> | undefined;
  let stopping: Promise<void> | undefined;
  /** Ends the grace of a stop under way; each further stop may call it earlier. */
  let graceOver: () => void = () => undefined;

  const start = async (signal: AbortSignal | undefined): Promise<void> => {
    signal?.throwIfAborted();
    await listen(listener, options);
    // This server never listens itself; the event starts its header and request timeouts.
    http1.emit('listening');
    connections.start();
    logger.info({ url: host.url }, 'Listening');
    if (signal?.aborted !== true) return;
    await host.stop({ graceMs: 0 });
    signal.throwIfAborted();
  };

  const stop = async (): Promise<void> => {
    // NOT_SERVING first: a health watcher hears it before its stream ends.
    statuses.close();
    const graceEnd = new Promise<void>((resolve) => (graceOver = resolve));
    draining.abort(new DOMException('The host is stopping.', 'AbortError'));
    await starting?.catch(() => undefined);
    const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
    connections.drain();
    http1.closeIdleConnections();
    await Promise.race([connections.empty(), graceEnd]);
    if (connections.size > 0) {
      const reason = new ConnectError('The server is stopping.', Code.Unavailable);
      cutOff.abort(reason);
      bidiCalls.abort(reason);
      let lastWords: { cancel(): void } | undefined;
      const said = new Promise<void>((resolve) => (lastWords = clock.schedule(lastWordsMs, resolve)));
      await Promise.race([connections.empty(), said]);
      lastWords?.cancel();
    }
    connections.destroy();
    // Ends the timer of its timeouts; it never listened, so the callback's error says only that.
    http1.close(() => undefined);
    await closed;
    logger.info({}, 'Stopped listening');
  };

  const listening = (): AddressInfo => {
    const address = listener.address();
    if (address !== null && typeof address === 'object') return address;
    throw new DroverError({
      code: 'HOST_NOT_LISTENING',
      advice: 'conflict',
      message: 'The RPC host has no address: it is not listening. Start it first.',
    });
  };

  const host: RpcHost = {
    get address() {
      return listening();
    },
    get url() {
      const { address, port, family } = listening();
      const name =
        address === '0.0.0.0' || address === '::' ? 'localhost' : family === 'IPv6' ? `[${address}]` : address;
      return `${options.tls === undefined ? 'http' : 'https'}://${name}:${port}`;
    },
    get connectionCount() {
      return connections.size;
    },
    draining: draining.signal,
    reloadTls(tls) {
      try {
        if (!(listener instanceof TlsServer)) throw new Error('the host listens in cleartext');
        listener.setSecureContext(tlsOptionsFrom(tls));
      } catch (error) {
        throw new DroverError({
          code: 'TLS_INVALID',
          advice: 'fix-input',
          message: `The certificate cannot be used: ${messageOf(error)}.`,
          cause: error,
        });
      }
    },
    start({ signal } = {}) {
      if (stopping !== undefined) {
        return Promise.reject(
          new DroverError({
            code: 'HOST_STOPPED',
            advice: 'conflict',
            message: 'The RPC host is stopped; create a new one.',
          }),
        );
      }
      return (starting ??= start(signal));
    },
    async stop({ graceMs = defaultGraceMs, signal } = {}) {
      stopping ??= stop();
      const over = (): void => graceOver();
      const timer = clock.schedule(graceMs, over);
      signal?.addEventListener('abort', over);
      if (signal?.aborted === true || graceMs <= 0) over();
      try {
        await stopping;
      } finally {
        timer.cancel();
        signal?.removeEventListener('abort', over);
      }
    },
    disconnect: (isMeant) => connections.end((socket) => isMeant(peerOf(socket))),
    setServing: (service, serving) => statuses.set(service, serving),
    [Symbol.asyncDispose]: () => host.stop(),
  };
  return host;
}
