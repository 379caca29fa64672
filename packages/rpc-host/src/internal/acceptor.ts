import { createServer as createNetServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';
import { protocolOf } from './protocol-of.ts';

/** Certificate and key as Node takes them, in PEM. */
export type TlsMaterial = Pick<TlsOptions, 'cert' | 'key' | 'passphrase' | 'minVersion' | 'ciphers'>;

/** What an acceptor needs. */
export interface AcceptorDeps {
  readonly tls: TlsMaterial | undefined;
  readonly firstByteTimeoutMs: number;
  /** Called for each TCP connection, before any handshake. */
  readonly onConnection: (socket: Socket) => void;
  /** Called when the protocol of a connection is known; with TLS the socket is the one inside. */
  readonly onProtocol: (protocol: 'h2' | 'http/1.1', socket: Socket) => void;
}

const ignore = (): void => undefined;

/** A server that tells HTTP/2 from HTTP/1.1, by ALPN with TLS and by the first bytes without. It does not listen yet. */
export function createAcceptor({ tls, firstByteTimeoutMs, onConnection, onProtocol }: AcceptorDeps): Server {
  // HTTP/1.1 lets a client close its side and still read the answer.
  const socketOptions = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 };
  const handOver = (protocol: 'h2' | 'http/1.1', socket: Socket): void => {
    if (protocol === 'h2') socket.allowHalfOpen = false;
    onProtocol(protocol, socket);
  };

  if (tls === undefined) {
    return createNetServer(socketOptions, (socket) => {
      // A reset before the protocol is known has no other listener, and would end the process.
      socket.on('error', ignore);
      onConnection(socket);
      protocolOf(socket, firstByteTimeoutMs, (protocol) => handOver(protocol, socket));
    });
  }
  const server = createTlsServer({
    ...socketOptions,
    ...tls,
    ALPNProtocols: ['h2', 'http/1.1'],
    handshakeTimeout: firstByteTimeoutMs,
  });
  server.on('connection', (socket: Socket) => {
    socket.on('error', ignore);
    onConnection(socket);
  });
  server.on('secureConnection', (socket) => {
    socket.on('error', ignore);
    handOver(socket.alpnProtocol === 'h2' ? 'h2' : 'http/1.1', socket);
  });
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  return server;
}
