import { isIPv6 } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import type { Interceptor, Transport } from '@connectrpc/connect';
import { createGrpcTransport, type Http2SessionOptions } from '@connectrpc/connect-node';
import { GuardedSessionManager } from '@drover/grpc-streams';
import type { AgentAddress } from '@drover/herd-protocol';
import { DroverError, messageOf } from '@drover/lease-kit';
import type { AgentTls } from './agent-tls.ts';

/** Calls to one agent. Disposing closes its connection. */
export interface AgentTransport extends Disposable {
  readonly transport: Transport;
  /** The agent's certificate in DER as the newest connection was shown it; undefined before there is one. */
  readonly shownCertificate: Uint8Array | undefined;
  /** Connects now. Throws `AGENT_UNREACHABLE` and `AGENT_NOT_TRUSTED`; an abort throws the signal's reason. */
  connect(signal: AbortSignal): Promise<void>;
}

/** What may differ. */
export interface AgentTransportOptions {
  /** Pings, limits on idle connections. Default: a ping each 20 s. */
  readonly session?: Http2SessionOptions | undefined;
}

/**
 * A gRPC transport to an agent; it connects with the first call, and anew when the connection breaks. Calls throw
 * `AGENT_NOT_TRUSTED` where the agent's certificate is not the one that `tls` wants.
 */
export function createAgentTransport(
  { host, port }: AgentAddress,
  { agentId, ...tls }: AgentTls,
  options: AgentTransportOptions = {},
): AgentTransport {
  let distrust: DroverError | undefined;
  let shown: Uint8Array | undefined;
  // Zones of link-local addresses have no place in a URL: the socket is connected here.
  const createConnection = (): TLSSocket => {
    const socket = connect({ host, port, ALPNProtocols: ['h2'], ...tls });
    socket.once('secureConnect', () => {
      distrust = undefined;
      shown = socket.getPeerX509Certificate()?.raw;
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (isDistrust(error)) distrust = notTrusted(agentId, `${host}:${port}`, error);
    });
    return socket;
  };
  const [bare = ''] = host.split('%', 1);
  const baseUrl = `https://${isIPv6(bare) ? `[${bare}]` : bare}:${port}`;
  const session = { pingIntervalMs: 20_000, pingTimeoutMs: 10_000, ...options.session };
  const sessions = new GuardedSessionManager(baseUrl, session, { createConnection });
  const sayWhy: Interceptor = (next) => async (request) => {
    try {
      return await next(request);
    } catch (error) {
      throw distrust ?? error;
    }
  };
  return {
    transport: createGrpcTransport({ baseUrl, sessionManager: sessions, interceptors: [sayWhy] }),
    get shownCertificate() {
      return shown;
    },
    async connect(signal) {
      const state = await Promise.race([sessions.connect(), rejectedBy(signal)]);
      if (state === 'error') throw distrust ?? unreachable(`${host}:${port}`, sessions.error());
    },
    [Symbol.dispose]: () => sessions.abort(),
  };
}

function rejectedBy(signal: AbortSignal): Promise<never> {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  return promise;
}

function unreachable(where: string, cause: unknown): DroverError {
  return new DroverError({
    code: 'AGENT_UNREACHABLE',
    advice: 'unavailable',
    message: `no agent can be reached at ${where}: ${messageOf(cause)}`,
    cause,
  });
}

/** What Node says of a certificate that it does not take, OpenSSL's codes among them. */
const distrustCodes: ReadonlySet<string> = new Set([
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_SIGNATURE_FAILURE',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

function isDistrust({ code }: NodeJS.ErrnoException): boolean {
  return code !== undefined && distrustCodes.has(code);
}

function notTrusted(agentId: string | undefined, where: string, cause: NodeJS.ErrnoException): DroverError {
  const isTime = cause.code === 'CERT_HAS_EXPIRED' || cause.code === 'CERT_NOT_YET_VALID';
  const advice = isTime
    ? 'compare the clocks of both machines'
    : 'another machine answers there, or the agent has lost its state folder; if that is so, "drover herd unpair" it and pair anew';
  return new DroverError({
    code: 'AGENT_NOT_TRUSTED',
    advice: 'denied',
    message: `${where} does not show the certificate of agent ${agentId ?? ''} (${cause.code}): ${advice}`,
    details: { why: cause.code ?? '' },
    cause,
  });
}
