import { once } from 'node:events';
import type { Server } from 'node:net';
import { DroverError, messageOf, type DroverErrorOptions } from '@drover/lease-kit';

const failures: Readonly<Record<string, Pick<DroverErrorOptions, 'code' | 'advice'> & { readonly allowed: string }>> = {
  EADDRINUSE: { code: 'ADDRESS_IN_USE', advice: 'conflict', allowed: 'a port that nothing else listens on, or 0' },
  EACCES: { code: 'ADDRESS_DENIED', advice: 'denied', allowed: 'a port that this user may listen on' },
  EADDRNOTAVAIL: { code: 'ADDRESS_INVALID', advice: 'fix-input', allowed: 'an address of this machine' },
  ENOTFOUND: { code: 'ADDRESS_INVALID', advice: 'fix-input', allowed: 'an address of this machine' },
  ERR_SOCKET_BAD_PORT: { code: 'ADDRESS_INVALID', advice: 'fix-input', allowed: 'a port from 0 to 65535' },
};

/** Listens, or says why not, and what would be possible. */
export async function listen(server: Server, address: { readonly host: string; readonly port: number }): Promise<void> {
  try {
    server.listen({ host: address.host, port: address.port, backlog: 4096 });
    await once(server, 'listening');
  } catch (error) {
    const failure = failures[(error as NodeJS.ErrnoException).code ?? ''];
    if (failure === undefined) throw error;
    const { allowed, ...rest } = failure;
    throw new DroverError({
      ...rest,
      message: `Can not listen on ${address.host}:${address.port} (${messageOf(error)}); allowed: ${allowed}.`,
      details: { host: address.host, port: address.port },
      cause: error,
    });
  }
}
