import { isIP } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import type { DescMessage, DescMethodBiDiStreaming, DescMethodClientStreaming, MessageShape } from '@bufbuild/protobuf';
import type { Transport } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { GuardedSessionManager, openBidiCall, type RequestEncoding } from '@drover/grpc-streams';
import type { AgentAddress } from '@drover/herd-protocol';

/** Longest message in either direction. */
export const messageSizeBytesMax = 4 * 1024 * 1024;

/**
 * Silence after which an agent is asked whether it is there, and how long it may take to say so. A connection without a call
 * is not asked: connect-node would go on asking one that was closed, and that ends the process.
 */
const ping = { pingIntervalMs: 5_000, pingTimeoutMs: 10_000 };

/** What one stream may have in flight, and all of them together. */
const windows = { stream: 4 * 1024 * 1024, connection: 16 * 1024 * 1024 };

/** One HTTP/2 connection to an agent; it is made by the first call and again by the first after it broke. */
export interface AgentConnection extends Disposable {
  /** For calls of all kinds. */
  readonly transport: Transport;
  /** A call straight on a stream. */
  stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodBiDiStreaming<I, O> | DescMethodClientStreaming<I, O>,
    requests: AsyncIterable<MessageShape<I>>,
    signal: AbortSignal,
    encoding?: RequestEncoding<MessageShape<I>>,
  ): AsyncIterableIterator<MessageShape<O>>;
}

/** Connects to an agent's herd port over TLS, at IPv4 and IPv6 addresses (a link-local one with its zone) and host names. */
export function createAgentConnection({ host, port }: AgentAddress, tls: ConnectionOptions): AgentConnection {
  // A URL can have no zone; what is connected to is said by `host` alone.
  const name = isIP(host) === 6 ? `[${host.split('%', 1)[0]}]` : host;
  const baseUrl = `https://${name}:${port}`;
  const session = new GuardedSessionManager(baseUrl, ping, {
    settings: { initialWindowSize: windows.stream },
    createConnection: () =>
      connectTls({ ...(isIP(host) === 0 ? { servername: host } : {}), ...tls, host, port, ALPNProtocols: ['h2'] }),
  });
  const transport = createGrpcTransport({
    baseUrl,
    sessionManager: session,
    readMaxBytes: messageSizeBytesMax,
    writeMaxBytes: messageSizeBytesMax,
    acceptCompression: [],
  });
  return {
    transport,
    stream: (method, requests, signal, encoding) =>
      openBidiCall(method, requests, {
        ...encoding,
        connection: session,
        headers: {},
        readMaxBytes: messageSizeBytesMax,
        writeMaxBytes: messageSizeBytesMax,
        signal,
      }),
    [Symbol.dispose]: () => session.abort(),
  };
}
