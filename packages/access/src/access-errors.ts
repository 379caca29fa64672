import { DroverError } from '@drover/lease-kit';
import type { Role } from './role.ts';

const denied = (code: string, message: string, details: Record<string, string> = {}): DroverError =>
  new DroverError({ code, advice: 'denied', message, details });

/** `PRINCIPAL_UNKNOWN`: a credential that this server never gave out, or does not accept. */
export function principalUnknown(why: string): DroverError {
  return denied('PRINCIPAL_UNKNOWN', `The credential is not known here: ${why}.`);
}

/** `TOKEN_EXPIRED`: a credential that was right once. */
export function tokenExpired(what: string, expiredAtMs: number): DroverError {
  return denied('TOKEN_EXPIRED', `${what} expired at ${new Date(expiredAtMs).toISOString()}.`);
}

/** `TOKEN_REVOKED`: a credential that was taken back. */
export function tokenRevoked(what: string): DroverError {
  return denied('TOKEN_REVOKED', `${what} was revoked.`);
}

/** `ROLE_MISSING`: the caller is known and may not do this. */
export function roleMissing(what: string, needs: Role | 'agent', has: Role | 'agent' | 'none'): DroverError {
  return denied(
    'ROLE_MISSING',
    `${what} needs the role ${needs}; the caller ${has === 'none' ? 'has none' : `has ${has}`}.`,
    { needs, has },
  );
}

/** `POOL_OUT_OF_SCOPE`: the caller is limited to pools, and this is not in one of them. */
export function poolOutOfScope(what: string, pools: readonly string[]): DroverError {
  return denied('POOL_OUT_OF_SCOPE', `${what}; the caller is limited to the pools ${pools.join(', ')}.`, {
    pools: pools.join(','),
  });
}
