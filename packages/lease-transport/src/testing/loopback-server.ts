import { connectNodeAdapter } from '@connectrpc/connect-node';
import { once } from 'node:events';
import { createSecureServer, createServer, type ServerHttp2Session } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { LeaseEndpoint } from '@drover/lease-kit';
import { registerLeaseService, type LeaseServiceOptions } from '../lease-service.ts';

/** A lease service on loopback, for tests of what calls it. */
export interface LoopbackServer extends AsyncDisposable {
  readonly port: number;
  /** How many connections are open. */
  readonly connections: number;
}

/** Serves `endpoint` over HTTP/2 on a port of loopback, in the clear unless `tls` is given. */
export async function startLoopbackServer(
  endpoint: LeaseEndpoint,
  options: LeaseServiceOptions & { readonly tls?: { readonly key: string; readonly cert: string } } = {},
): Promise<LoopbackServer> {
  const handler = connectNodeAdapter({
    routes: (router) =>
      registerLeaseService(router, { endpoint, principalOf: () => ({ kind: 'agent', id: 'loopback' }) }, options),
  });
  const server = options.tls ? createSecureServer({ ...options.tls }, handler) : createServer({}, handler);
  const sessions = new Set<ServerHttp2Session>();
  server.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return sessions.size;
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      for (const session of sessions) session.destroy();
      await closed;
    },
  };
}
