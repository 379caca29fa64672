import { DroverError, isDroverError, type CallContext } from '@drover/lease-kit';
import type { FetchSecretsRequest } from '@drover/lease-protocol';
import type { LeaseSession } from './lease-session.ts';
import type { ServerParts } from './server-parts.ts';
import { attemptNotBound, copyInvalid } from './session-errors.ts';

/**
 * The secrets of the lease of an attempt, for the session that it is bound to. Throws ATTEMPT_NOT_BOUND, COPY_INVALID,
 * SECRETS_UNAVAILABLE for a server without keys, SECRET_SEALED for one with other keys, and what the store throws.
 */
export async function secretsOf(
  { store, secrets }: ServerParts,
  session: LeaseSession,
  { attempt: key }: FetchSecretsRequest,
  { principal, signal }: CallContext,
): Promise<ReadonlyMap<string, Uint8Array>> {
  if (key === undefined) throw copyInvalid('attempt is missing');
  const { leaseId, attempt } = key;
  try {
    const sealed = await store.attempts.secretsOf({ ...session.ref, leaseId, attempt }, { principal, signal });
    if (sealed === undefined) return new Map();
    if (secrets !== undefined) return secrets.open(leaseId, sealed);
  } catch (error) {
    // The session is alive here, so the attempt is what is over; the agent must not take itself for fenced.
    if (isDroverError(error) && error.advice === 'fenced' && !session.ended) throw attemptNotBound(leaseId, attempt);
    throw error;
  }
  throw new DroverError({
    code: 'SECRETS_UNAVAILABLE',
    advice: 'internal',
    message: 'this server has no key to open secrets: every server of a fleet needs the same key file',
  });
}
