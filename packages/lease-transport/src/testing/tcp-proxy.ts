import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A TCP proxy on loopback that a test makes misbehave. */
export interface TcpProxy extends AsyncDisposable {
  readonly port: number;
  /** How many connections it carries now. */
  readonly connections: number;
  /** How many it has carried in all. */
  readonly accepted: number;
  /** Breaks every connection, the way a pulled cable with a reset does. */
  cut(): void;
  /** Breaks every future connection so long after it was made; undefined: no more. */
  cutAfterMs: number | undefined;
  /** Holds back what arrives, in both directions, for so long. */
  delayMs: number;
  /** Swallows everything in both directions without closing, as a dead router does. */
  silent: boolean;
}

/** Starts a proxy to a port of loopback. */
export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let accepted = 0;
  const server = createServer((inbound) => {
    accepted += 1;
    const outbound = connect(targetPort, '127.0.0.1');
    sockets.add(inbound);
    const cutTimer =
      proxy.cutAfterMs === undefined ? undefined : setTimeout(() => inbound.resetAndDestroy(), proxy.cutAfterMs);
    for (const [from, to] of [
      [inbound, outbound],
      [outbound, inbound],
    ] as const) {
      from.setNoDelay(true);
      from.on('data', (chunk) => {
        if (proxy.silent) return;
        if (proxy.delayMs === 0) to.write(chunk);
        else setTimeout(() => to.destroyed || to.write(chunk), proxy.delayMs);
      });
      from.on('end', () => to.end());
      from.on('error', () => to.destroy());
      from.on('close', () => {
        clearTimeout(cutTimer);
        sockets.delete(inbound);
        to.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const proxy: TcpProxy = {
    port,
    cutAfterMs: undefined,
    delayMs: 0,
    silent: false,
    get connections() {
      return sockets.size;
    },
    get accepted() {
      return accepted;
    },
    cut() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  return proxy;
}
