import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer, Server as HttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { DroverError, messageOf, silentLogger, type Logger } from '@drover/lease-kit';
import { tlsOptionsFrom, type TlsMaterial } from './internal/acceptor.ts';
import { listen } from './internal/listen.ts';
import { respond } from './internal/node-server-request.ts';

/** Metrics as text, and what that is. */
export interface MetricsText {
  readonly contentType: string;
  readonly text: string;
}

/** Where metrics are served. */
export interface OperatorHostOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Absent: cleartext. */
  readonly tls?: TlsMaterial | undefined;
}

/** Who works together in it. */
export interface OperatorHostDeps {
  /** Reads the metrics; what it throws is logged and answered as 503. */
  readonly metrics: () => Promise<MetricsText>;
  /** Absent: silence. */
  readonly logger?: Logger | undefined;
}

/** A listener for those who watch the process. */
export interface OperatorHost extends AsyncDisposable {
  /** Throws `HOST_NOT_LISTENING` before the start. */
  readonly address: AddressInfo;
  /** Listens. Throws as `RpcHost.start` does. */
  start(): Promise<void>;
  /** As `RpcHost.reloadTls`. */
  reloadTls(tls: TlsMaterial): void;
}

const connectionsMax = 64;
const timeoutMs = 10_000;

/**
 * A port of its own that answers `GET /metrics` over HTTP/1.1, to whoever can connect to it. It is told nothing, so there is
 * nothing to check but where it listens and, with TLS, who shows a certificate.
 */
export function createOperatorHost(options: OperatorHostOptions, deps: OperatorHostDeps): OperatorHost {
  const { tls } = options;
  const { logger = silentLogger } = deps;
  const limits = { maxHeaderSize: 16_384, headersTimeout: timeoutMs, requestTimeout: timeoutMs };
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    void answerMetrics(request, response, deps.metrics, logger);
  };
  const server =
    tls === undefined
      ? createHttpServer(limits, answer)
      : createHttpsServer(
          {
            ...limits,
            ...tlsOptionsFrom(tls),
            ...(tls.clients === undefined ? {} : { requestCert: true, rejectUnauthorized: tls.clients.required }),
            handshakeTimeout: timeoutMs,
          },
          answer,
        );
  server.maxConnections = connectionsMax;
  let stopped: Promise<void> | undefined;
  return {
    get address() {
      const address = server.address();
      if (address !== null && typeof address === 'object') return address;
      throw new DroverError({
        code: 'HOST_NOT_LISTENING',
        advice: 'conflict',
        message: 'The listener of metrics has no address: it is not listening. Start it first.',
      });
    },
    start: () => listen(server, options),
    reloadTls(material) {
      if (server instanceof HttpsServer) server.setSecureContext(tlsOptionsFrom(material));
    },
    [Symbol.asyncDispose]: () =>
      (stopped ??= new Promise((resolve) => {
        // Its error says only that it never listened.
        server.close(() => resolve());
        server.closeAllConnections();
      })),
  };
}

async function answerMetrics(
  request: IncomingMessage,
  response: ServerResponse,
  metrics: () => Promise<MetricsText>,
  logger: Logger,
): Promise<void> {
  if ((request.url ?? '').split('?', 1)[0] !== '/metrics') return respond(response, 404);
  if (request.method !== 'GET' && request.method !== 'HEAD') return respond(response, 405, { allow: 'GET, HEAD' });
  try {
    const { contentType, text } = await metrics();
    const headers = {
      'content-type': contentType,
      'cache-control': 'no-store',
      'content-length': Buffer.byteLength(text),
    };
    respond(response, 200, headers, request.method === 'HEAD' ? '' : text);
  } catch (error) {
    logger.warn({ err: error }, 'metrics could not be read');
    respond(response, 503, { 'content-type': 'text/plain' }, `The metrics cannot be read: ${messageOf(error)}\n`);
  }
}
