import { createSocket, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';

/** What a socket is bound to. */
export interface UdpSocketOptions {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** Others of this machine may bind it as well. */
  readonly shared: boolean;
}

/** A bound socket, whose later errors its owner listens for. Rejects with the platform's error. */
export function openUdpSocket({ host, port, shared }: UdpSocketOptions): Promise<Socket> {
  const socket = isIPv6(host)
    ? createSocket({ type: 'udp6', ipv6Only: true, reuseAddr: shared })
    : createSocket({ type: 'udp4', reuseAddr: shared });
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => {
      socket.close();
      reject(error);
    };
    socket.once('error', onError);
    socket.bind({ address: host, port, exclusive: true }, () => {
      socket.off('error', onError);
      resolve(socket);
    });
  });
}
