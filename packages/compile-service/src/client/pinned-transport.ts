import { createHash, timingSafeEqual, type X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import type { Transport } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { GuardedSessionManager } from '@drover/grpc-streams';
import { DroverError } from '@drover/lease-kit';

/** Calls to one worker. Disposing closes its connection. */
export interface PinnedTransport extends Disposable {
  readonly transport: Transport;
}

/** Up to 256 MiB each way, as CompileService has it. */
const messageSizeBytesMax = 256 * 1024 * 1024;

const connectMs = 5_000;

/**
 * A transport to `address` (HOST:PORT) over TLS 1.3 that says nothing, not even a token, to who does not show the leaf
 * certificate with this SHA-256; who signed it does not matter. Throws `WORKER_NOT_TRUSTED` and what the connection fails
 * with.
 */
export async function createPinnedTransport(
  address: string,
  certificateSha256: Uint8Array,
  signal: AbortSignal,
): Promise<PinnedTransport> {
  const url = new URL(`https://${address}`);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port || 443);
  // HTTP/2 cannot bear that a connection is refused when it is made, so the certificate is looked at before, and is then the
  // only one that Node itself lets through.
  const leaf = await leafOf({ host, port }, signal);
  if (!isEqual(sha256(leaf.raw), certificateSha256)) {
    throw new DroverError({
      code: 'WORKER_NOT_TRUSTED',
      advice: 'denied',
      message: `The worker at ${address} shows another certificate than the scheduler named`,
    });
  }
  const createConnection = (): TLSSocket =>
    connect({
      host,
      port,
      ALPNProtocols: ['h2'],
      minVersion: 'TLSv1.3',
      ca: leaf.toString(),
      allowPartialTrustChain: true,
      checkServerIdentity: (_host, { raw }) =>
        isEqual(sha256(raw), certificateSha256) ? undefined : new Error('another certificate than before'),
    });
  const sessions = new GuardedSessionManager(
    url.origin,
    { pingIntervalMs: 20_000, pingTimeoutMs: 10_000 },
    { createConnection },
  );
  return {
    transport: createGrpcTransport({
      baseUrl: url.origin,
      sessionManager: sessions,
      readMaxBytes: messageSizeBytesMax,
      writeMaxBytes: messageSizeBytesMax,
    }),
    [Symbol.dispose]: () => sessions.abort(),
  };
}

async function leafOf(where: { host: string; port: number }, signal: AbortSignal): Promise<X509Certificate> {
  const socket = connect({ ...where, ALPNProtocols: ['h2'], minVersion: 'TLSv1.3', rejectUnauthorized: false });
  try {
    await once(socket, 'secureConnect', { signal: AbortSignal.any([signal, AbortSignal.timeout(connectMs)]) });
    const shown = socket.getPeerX509Certificate();
    if (shown === undefined) throw new Error('no certificate');
    return shown;
  } finally {
    socket.on('error', () => {});
    socket.destroy();
  }
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function isEqual(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && timingSafeEqual(left, right);
}
