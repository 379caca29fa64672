import { DroverError, messageOf } from '@drover/lease-kit';
import type { LeaseClientTls } from '@drover/lease-transport';
import { isLoopback } from '@drover/app-config';
import { readFile } from 'node:fs/promises';
import { serverUrlsOf, type AgentConfig } from './agent-config.ts';

/** Whether the agent shows a credential of its own; otherwise it acts by its name, with the bootstrap token or in development. */
export function wantsEnrolment(config: Pick<AgentConfig, 'server' | 'herd'>): boolean {
  const { enrol, enrolment_token, token } = config.server;
  const urls = serverUrlsOf(config);
  if (urls.length === 0) return false;
  if (enrol !== undefined) return enrol;
  return enrolment_token !== undefined || (token === undefined && urls.every((url) => url.startsWith('https:')));
}

/** Throws `PLAINTEXT_REFUSED` for a server on another machine that would be called without TLS. */
export function checkServerUrls(config: Pick<AgentConfig, 'server' | 'herd'>): void {
  const open = serverUrlsOf(config).find((url) => url.startsWith('http:') && !isLoopback(new URL(url).hostname));
  if (open === undefined || config.server.plaintext) return;
  throw new DroverError({
    code: 'PLAINTEXT_REFUSED',
    advice: 'fix-input',
    message: `server.urls: ${open} is on another machine and has no TLS; allowed is https://, or server.plaintext = true`,
  });
}

/** The TLS of an agent's connections. Throws `TLS_FILES_INVALID` and `TLS_INCOMPLETE`. */
export async function agentTls({ server }: Pick<AgentConfig, 'server'>): Promise<LeaseClientTls> {
  const { tls_ca: ca, tls_cert: cert, tls_key: key } = server;
  if ((cert === undefined) !== (key === undefined)) {
    throw new DroverError({
      code: 'TLS_INCOMPLETE',
      advice: 'fix-input',
      message: 'server.tls_cert and server.tls_key go together',
    });
  }
  return {
    ...(ca === undefined ? {} : { ca: await read(ca) }),
    ...(cert === undefined || key === undefined ? {} : { cert: await read(cert), key: await read(key) }),
  };
}

async function read(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new DroverError({
      code: 'TLS_FILES_INVALID',
      advice: 'fix-input',
      message: `TLS: ${path} cannot be read: ${messageOf(error)}`,
      cause: error,
    });
  }
}
