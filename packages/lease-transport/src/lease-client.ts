import { createClient, type Client, type Interceptor, type Transport } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import type { SecureClientSessionOptions } from 'node:http2';
import { DroverError, silentLogger, systemClock, type Clock, type LeaseClient, type Logger } from '@drover/lease-kit';
import { GuardedSessionManager, openBidiCall } from '@drover/grpc-streams';
import { LeaseService } from '@drover/lease-protocol';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { LinkMode, type PollFallbackOptions } from './link-mode.ts';
import { openPollLink } from './poll-link.ts';
import { openStreamLink, type Exchange } from './stream-link.ts';

/** The part of TLS that a client may set, with Node's meaning. Used when the URL is `https:`. */
export type LeaseClientTls = Pick<
  SecureClientSessionOptions,
  'ca' | 'cert' | 'key' | 'passphrase' | 'pfx' | 'servername' | 'rejectUnauthorized' | 'checkServerIdentity'
>;

/** Headers of a call, by their names in lower case. */
export type CallHeaders = Readonly<Record<string, string>>;

/** Where a server is and how it is called. */
export interface LeaseClientOptions {
  /** `http://host:port` or `https://host:port`. */
  readonly baseUrl: string;
  readonly tls?: LeaseClientTls;
  /** HTTP version. With `1.1` there are no streams, and links poll. Default `2`: one connection for everything. */
  readonly httpVersion?: '1.1' | '2';
  /**
   * Headers on every call, e.g. `authorization`; a function is asked at every call, with the URL that it goes to. At most 32.
   * What it rejects with is the call's error.
   */
  readonly headers?: CallHeaders | ((url: string) => CallHeaders | Promise<CallHeaders>);
  readonly pollFallback?: PollFallbackOptions;
  /** The most bytes of one message in either direction. Default 4 MiB. */
  readonly messageSizeMaxBytes?: number;
  /** How long a unary call may take, the wait of a poll not counted. Default 30 s. */
  readonly callTimeoutMs?: number;
  /** Silence on the connection after which a PING asks whether the server is there. Default 20 s. */
  readonly pingIntervalMs?: number;
  /** How long the server has to answer a PING before the connection counts as dead. Default 10 s. */
  readonly pingTimeoutMs?: number;
}

/** Who works together in a client. */
export interface LeaseClientDeps {
  /** Default: the process's clock. */
  readonly clock?: Clock;
  /** Default: silence. */
  readonly logger?: Logger;
  /** Carries the calls instead of a connection of the client's own, e.g. an in-memory one. The caller closes it. */
  readonly transport?: Transport;
}

/** A {@link LeaseClient} that holds a connection. */
export interface ConnectedLeaseClient extends LeaseClient, AsyncDisposable {
  /** Whether the next link will be a stream or polls. */
  readonly linkMode: 'stream' | 'polling';
  /** Closes the connection; what runs on it fails with `unavailable`. Idempotent. */
  close(): Promise<void>;
}

/** Largest message in either direction where nothing else is said: 4 MiB. */
export const defaultMessageSizeMaxBytes = 4 * 1024 * 1024;

/**
 * A server as its agents call it, on one connection. Unary calls use the Connect protocol, which needs no HTTP trailers:
 * some proxies drop them. Streams use gRPC, which servers can hold open by the thousand at the least cost. The connection is made by
 * the first call and made again by the first call after
 * it broke. Calls throw DroverErrors: the server's own, `MESSAGE_TOO_LARGE`, or `RPC_…` for what happened on the way.
 * Aborting a call's signal makes it reject with advice `cancelled`. Throws `LEASE_CLIENT_INVALID` for a URL that is none.
 */
export function createLeaseClient(options: LeaseClientOptions, deps: LeaseClientDeps = {}): ConnectedLeaseClient {
  checkOptions(options);
  const clock = deps.clock ?? systemClock;
  const callTimeoutMs = options.callTimeoutMs ?? 30_000;
  const fallback = {
    firstAnswerMs: options.pollFallback?.firstAnswerMs ?? 10_000,
    quickBreakMs: options.pollFallback?.quickBreakMs ?? 5_000,
    quickBreaksMax: options.pollFallback?.quickBreaksMax ?? 3,
    pollingMs: options.pollFallback?.pollingMs ?? 300_000,
    waitMs: Math.min(60_000, Math.max(1_000, options.pollFallback?.waitMs ?? 20_000)),
  };
  const mode = new LinkMode(fallback, clock, deps.logger ?? silentLogger);
  const alwaysPolls = options.httpVersion === '1.1';
  const connection = deps.transport ? undefined : connect(options);
  const rpc: Client<typeof LeaseService> = createClient(LeaseService, deps.transport ?? connection!.unary);
  const exchange = connection?.exchange ?? ((requests, { signal }) => rpc.exchangeLeases(requests, { signal }));

  const call = async <T>(promise: Promise<T>): Promise<T> => {
    try {
      return await promise;
    } catch (error) {
      throw droverErrorFromConnect(error);
    }
  };
  const close = (): Promise<void> => {
    connection?.close();
    return Promise.resolve();
  };
  return {
    async openSession(request, signal) {
      const sentAtMs = clock.monotonicMs();
      try {
        return await call(rpc.openSession(request, { signal, timeoutMs: callTimeoutMs }));
      } finally {
        mode.unaryAnswered(clock.monotonicMs() - sentAtMs);
      }
    },
    appendLog: (request, signal) => call(rpc.appendLog(request, { signal, timeoutMs: callTimeoutMs })),
    fetchSecrets: (request, signal) => call(rpc.fetchSecrets(request, { signal, timeoutMs: callTimeoutMs })),
    link(signal) {
      const untilMs = mode.pollUntilMs;
      if (alwaysPolls || untilMs !== undefined) {
        return openPollLink({ rpc, mode, clock, untilMs, waitMs: fallback.waitMs, callTimeoutMs }, signal);
      }
      return openStreamLink({ exchange, mode, clock, ...fallback }, signal);
    },
    get linkMode() {
      return alwaysPolls || mode.pollUntilMs !== undefined ? 'polling' : 'stream';
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

interface Connection {
  readonly unary: Transport;
  /** Absent: through {@link unary}, which has no other way either. */
  readonly exchange?: Exchange;
  close(): void;
}

function connect(options: LeaseClientOptions): Connection {
  const messageSizeMaxBytes = options.messageSizeMaxBytes ?? defaultMessageSizeMaxBytes;
  const { headers = {} } = options;
  const { parent, name } = LeaseService.method.exchangeLeases;
  const exchangeUrl = `${options.baseUrl.replace(/\/+$/, '')}/${parent.typeName}/${name}`;
  const headersOf = typeof headers === 'function' ? headers : () => headers;
  const common = {
    baseUrl: options.baseUrl,
    useBinaryFormat: true,
    // Copies are small and arrive often: compressing them costs more than it saves.
    acceptCompression: [],
    readMaxBytes: messageSizeMaxBytes,
    writeMaxBytes: messageSizeMaxBytes,
    interceptors: [
      ((next) => async (request) => {
        for (const [name, value] of Object.entries(await headersOf(request.url))) request.header.set(name, value);
        return next(request);
      }) satisfies Interceptor,
    ],
  };
  if (options.httpVersion === '1.1') {
    const transport = createConnectTransport({ ...common, httpVersion: '1.1', nodeOptions: { ...options.tls } });
    return { unary: transport, close: () => undefined };
  }
  const sessionManager = new GuardedSessionManager(
    options.baseUrl,
    { pingIntervalMs: options.pingIntervalMs ?? 20_000, pingTimeoutMs: options.pingTimeoutMs ?? 10_000 },
    { ...options.tls },
  );
  return {
    unary: createConnectTransport({ ...common, httpVersion: '2', sessionManager }),
    exchange: (requests, { signal }) =>
      openBidiCall(LeaseService.method.exchangeLeases, requests, {
        connection: sessionManager,
        headers: () => headersOf(exchangeUrl),
        readMaxBytes: messageSizeMaxBytes,
        writeMaxBytes: messageSizeMaxBytes,
        signal,
      }),
    close: () => sessionManager.abort(),
  };
}

function checkOptions(options: LeaseClientOptions): void {
  const invalid = (message: string): DroverError =>
    new DroverError({ code: 'LEASE_CLIENT_INVALID', advice: 'fix-input', message });
  const url = URL.parse(options.baseUrl);
  if (!url || !['http:', 'https:'].includes(url.protocol)) {
    throw invalid(`baseUrl must be http://host:port or https://host:port, not ${JSON.stringify(options.baseUrl)}`);
  }
  if (Object.keys(options.headers ?? {}).length > 32) throw invalid('headers: at most 32 are allowed');
}
