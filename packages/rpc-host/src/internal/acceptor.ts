import { createServer as createNetServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';
import { hasCertificate } from './names-of-certificate.ts';
import { protocolOf } from './protocol-of.ts';

/** Certificate and key as Node takes them, in PEM. */
export interface TlsMaterial extends Pick<TlsOptions, 'cert' | 'key' | 'passphrase' | 'minVersion' | 'ciphers'> {
  /** Asks clients for certificates; absent: it does not. */
  readonly clients?: TlsClients | undefined;
}

/** What is asked of clients. */
export interface TlsClients {
  /** The authorities that may have signed their certificates, in PEM. */
  readonly ca: string | Buffer;
  /** True: there is no connection without one. False: one that is shown must be right. */
  readonly required: boolean;
}

/** TLS material as Node's options. */
export function tlsOptionsFrom({ clients, ...own }: TlsMaterial): TlsOptions {
  return clients === undefined ? own : { ...own, ca: clients.ca };
}

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
    ...tlsOptionsFrom(tls),
    ...(tls.clients === undefined ? {} : { requestCert: true, rejectUnauthorized: tls.clients.required }),
    ALPNProtocols: ['h2', 'http/1.1'],
    handshakeTimeout: firstByteTimeoutMs,
  });
  server.on('connection', (socket: Socket) => {
    socket.on('error', ignore);
    onConnection(socket);
  });
  server.on('secureConnection', (socket) => {
    socket.on('error', ignore);
    // Optional is the certificate, not that it is right.
    if (tls.clients !== undefined && !socket.authorized && hasCertificate(socket)) return void socket.destroy();
    handOver(socket.alpnProtocol === 'h2' ? 'h2' : 'http/1.1', socket);
  });
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  return server;
}
