import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { encodeRequest } from './discovery-wire.ts';

/** What became of knocking at a port: `refused` says that its machine is there, `silent` that nothing came back. */
export type PortState = 'open' | 'refused' | 'silent' | 'unreachable';

/** Connects to a TCP port and closes the connection. An abort says `silent`. */
export function probeTcp(host: string, port: number, timeoutMs: number, signal?: AbortSignal): Promise<PortState> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, ...(signal === undefined ? {} : { signal }) });
    const end = (state: PortState): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(state);
    };
    const timer = setTimeout(() => end('silent'), timeoutMs);
    socket.once('connect', () => end('open'));
    socket.on('error', (error) => end(signal?.aborted === true ? 'silent' : stateOf(error)));
  });
}

/** Asks a UDP port of an address; the platform tells of one that is closed, where its machine says so (ICMP). */
export function probeUdp(address: string, port: number, timeoutMs: number): Promise<PortState> {
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
    const end = (state: PortState): void => {
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.on('error', () => undefined);
      socket.close();
      resolve(state);
    };
    const timer = setTimeout(() => end('silent'), timeoutMs);
    socket.once('message', () => end('open'));
    socket.once('error', (error) => end(stateOf(error)));
    // A socket that is connected is told what became of its datagrams.
    socket.connect(port, address, (error?: Error) => {
      // The types do not say so: where there is no way to the address, the callback is given that.
      if (error) return end(stateOf(error));
      socket.send(encodeRequest(randomBytes(16), 0), (error) => {
        if (error) end(stateOf(error));
      });
    });
  });
}

function stateOf(error: Error): PortState {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ECONNREFUSED' || code === 'ECONNRESET') return 'refused';
  return code === 'ETIMEDOUT' ? 'silent' : 'unreachable';
}
