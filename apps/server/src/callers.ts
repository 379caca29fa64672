import { DroverError, type Principal } from '@drover/lease-kit';
import { LeaseService } from '@drover/lease-protocol';
import type { IncomingCall, PrincipalOf } from '@drover/rpc-host';
import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';

/** The header in which an agent names itself. */
export const agentIdHeader = 'drover-agent-id';
/** The header in which a person or program names itself. */
export const userHeader = 'drover-user';

/**
 * Who calls, until sign-in exists: whoever knows the server's token, or, without one, whoever is on this machine. An agent
 * acts as the agent that it names; everybody else is the user that they name, `local` if none.
 */
export function principalByToken(token: string | undefined): PrincipalOf {
  return (call) => {
    if (token !== undefined && !showsToken(call, token)) return undefined;
    const isAgent = call.service === LeaseService.typeName;
    const id = call.header.get(isAgent ? agentIdHeader : userHeader) ?? (isAgent ? '' : 'local');
    if (!/^[\w.@:+-]{1,128}$/.test(id)) {
      throw new DroverError({
        code: 'PRINCIPAL_INVALID',
        advice: 'denied',
        message: `${isAgent ? agentIdHeader : userHeader} must be 1 to 128 letters, digits and . _ @ : + -`,
      });
    }
    return { kind: isAgent ? 'agent' : 'user', id } satisfies Principal;
  };
}

function showsToken(call: IncomingCall, token: string): boolean {
  const shown = /^Bearer (.+)$/i.exec(call.header.get('authorization') ?? '')?.[1];
  // Hashes have one length, which timingSafeEqual asks for.
  return shown !== undefined && timingSafeEqual(hash(shown), hash(token));
}

function hash(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** Throws ACCESS_OPEN for a server that others than this machine could reach without a token. */
export function checkAccess(host: string, token: string | undefined): void {
  if (token !== undefined || isLoopback(host)) return;
  throw new DroverError({
    code: 'ACCESS_OPEN',
    advice: 'fix-input',
    message: `listen.host is ${host}, which other machines reach: set access.token, or listen on 127.0.0.1`,
  });
}

function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true;
  return isIP(host) === 4 && host.startsWith('127.');
}
