import { createContextKey, type ContextValues } from '@connectrpc/connect';
import { DroverError, type Principal } from '@drover/lease-kit';
import type { Role } from './role.ts';

/** Who calls, and what they may do: the principal with what its credential says of it. */
export interface Caller {
  readonly principal: Principal;
  /** Absent for agents. */
  readonly role?: Role;
  /** The pools that the caller is limited to; absent: none, the caller sees the whole fleet. Never empty. */
  readonly pools?: readonly string[];
  /** IP address that the call came from; empty if the connection is gone. */
  readonly address: string;
  /** How the caller was recognized, for the audit: e.g. `token 4f1c…`, `development`. */
  readonly credential: string;
  /** When the credential ends, by the wall clock. Absent: never. Calls that are open then are ended. */
  readonly expiresAtMs?: number;
  /** Aborted, with the error of the call, when the credential is revoked: calls that are open are ended. */
  readonly ended?: AbortSignal;
}

const nobody: Caller = { principal: { kind: 'service', id: '' }, address: '', credential: '' };

/** The caller of a call, in `context.values`. The gate sets it before any handler or interceptor runs. */
export const callerKey = createContextKey<Caller>(nobody, { description: 'drover caller' });

/** The caller of a call. Throws `UNAUTHENTICATED` where no gate has set one, so that nothing runs on nobody's behalf. */
export function callerFrom(values: ContextValues): Caller {
  const caller = values.get(callerKey);
  if (caller !== nobody) return caller;
  throw new DroverError({
    code: 'UNAUTHENTICATED',
    advice: 'denied',
    message: 'There is no caller: the call did not come through the gate.',
  });
}

/** True if the caller may see and use what belongs to `pool`; undefined stands for what belongs to none. */
export function seesPool(caller: Pick<Caller, 'pools'>, pool: string | undefined): boolean {
  return caller.pools === undefined || (pool !== undefined && caller.pools.includes(pool));
}
