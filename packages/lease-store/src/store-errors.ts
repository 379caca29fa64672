import { DroverError } from '@drover/lease-kit';
import type { SessionRef } from './lease-queue.ts';
import { storeLimits } from './store-limits.ts';

/** Input that no store takes. `where` names the field. */
export function inputInvalid(where: string, problem: string, allowed: string): DroverError {
  return new DroverError({
    code: 'STORE_INPUT_INVALID',
    advice: 'fix-input',
    message: `${where}: ${problem}; allowed: ${allowed}.`,
    details: { where },
  });
}

/** A call with more entries or bytes than one call may have. */
export function callTooLarge(where: string, given: number, limit: number): DroverError {
  return new DroverError({
    code: 'STORE_CALL_TOO_LARGE',
    advice: 'fix-input',
    message: `${where}: ${given} are more than one call may have; allowed: at most ${limit}.`,
    details: { where, given, limit },
  });
}

/** A payload or an output that must go to the content store. */
export function payloadTooLarge(where: string, sizeBytes: number, limitBytes: number): DroverError {
  return new DroverError({
    code: 'PAYLOAD_TOO_LARGE',
    advice: 'fix-input',
    message: `${where}: ${sizeBytes} bytes; allowed inline: at most ${limitBytes}. Larger ones go to the content store.`,
    details: { where, sizeBytes, limitBytes },
  });
}

/** A lease id that is taken, by a live lease or by one that has ended. */
export function leaseExists(leaseId: string): DroverError {
  return new DroverError({
    code: 'LEASE_EXISTS',
    advice: 'conflict',
    message: `Lease ${leaseId} exists already; a lease id is used once.`,
    details: { leaseId },
  });
}

/** A job id that is taken. */
export function jobExists(jobId: string): DroverError {
  return new DroverError({
    code: 'JOB_EXISTS',
    advice: 'conflict',
    message: `Job ${jobId} exists already and was not made by this request.`,
    details: { jobId },
  });
}

export function leaseNotFound(leaseId: string): DroverError {
  return new DroverError({
    code: 'LEASE_NOT_FOUND',
    advice: 'not-found',
    message: `There is no lease ${JSON.stringify(leaseId)} (any more).`,
    details: { leaseId },
  });
}

export function jobNotFound(idOrPrefix: string): DroverError {
  return new DroverError({
    code: 'JOB_NOT_FOUND',
    advice: 'not-found',
    message: `There is no job ${JSON.stringify(idOrPrefix)} (any more).`,
    details: { jobId: idOrPrefix },
  });
}

export function jobIdAmbiguous(prefix: string): DroverError {
  return new DroverError({
    code: 'JOB_ID_AMBIGUOUS',
    advice: 'fix-input',
    message: `Several jobs begin with ${JSON.stringify(prefix)}; give more of the id.`,
    details: { prefix },
  });
}

/** A write under a session that is not current, or about an attempt that is not bound to it. */
export function sessionFenced(session: SessionRef, what: string): DroverError {
  return new DroverError({
    code: 'SESSION_FENCED',
    advice: 'fenced',
    message: `${what} is not bound to epoch ${session.epoch} of agent ${session.agentId}; nothing was written.`,
    details: { agentId: session.agentId, epoch: session.epoch },
  });
}

export function agentQuarantined(agentId: string, remainingMs: number): DroverError {
  return new DroverError({
    code: 'AGENT_QUARANTINED',
    advice: 'denied',
    message: `Two processes take agent ${agentId} from each other, so neither may have it for ${Math.ceil(remainingMs / 1000)} s. Give each machine an agent id of its own.`,
    details: { agentId, remainingMs },
    retryAfterMs: remainingMs,
  });
}

export function logFull(log: string, limit: string): DroverError {
  return new DroverError({
    code: 'LOG_FULL',
    advice: 'exhausted',
    message: `Log ${JSON.stringify(log)} takes no more bytes: ${limit}.`,
    details: { log },
  });
}

export function storeClosed(): DroverError {
  return new DroverError({
    code: 'STORE_CLOSED',
    advice: 'unavailable',
    message: 'The store is closed.',
  });
}

export function callCancelled(cause: unknown): DroverError {
  return new DroverError({
    code: 'CALL_CANCELLED',
    advice: 'cancelled',
    message: 'The caller ended the call to the store; a write may have happened or not.',
    cause,
  });
}

/** A token id or secret that is taken. */
export function tokenExists(tokenId: string): DroverError {
  return new DroverError({
    code: 'TOKEN_EXISTS',
    advice: 'conflict',
    message: `Token ${tokenId} or its secret exists already.`,
    details: { tokenId },
  });
}

export function tokenNotFound(idOrPrefix: string): DroverError {
  return new DroverError({
    code: 'TOKEN_NOT_FOUND',
    advice: 'not-found',
    message: `There is no token ${JSON.stringify(idOrPrefix)} (any more).`,
    details: { tokenId: idOrPrefix },
  });
}

export function tokenIdAmbiguous(prefix: string): DroverError {
  return new DroverError({
    code: 'TOKEN_ID_AMBIGUOUS',
    advice: 'fix-input',
    message: `Several tokens begin with ${JSON.stringify(prefix)}; give more of the id.`,
    details: { prefix },
  });
}

export function tokensFull(): DroverError {
  return new DroverError({
    code: 'TOKENS_FULL',
    advice: 'exhausted',
    message: `There are ${storeLimits.tokensMax} tokens that have not ended, which is the most allowed: revoke some.`,
    details: { tokensMax: storeLimits.tokensMax },
  });
}

/** Agents that the store does not know. */
export function agentsNotFound(agentIds: readonly string[]): DroverError {
  const shown = agentIds.slice(0, 10).map((agentId) => JSON.stringify(agentId));
  const more = agentIds.length > shown.length ? ` and ${agentIds.length - shown.length} more` : '';
  return new DroverError({
    code: 'AGENT_NOT_FOUND',
    advice: 'not-found',
    message: `There is no agent ${shown.join(', ')}${more}; nothing was changed.`,
    details: { agentId: agentIds[0] ?? '' },
  });
}

/** An agent that cannot be removed, because it would come back at once. */
export function agentOnline(agentId: string): DroverError {
  return new DroverError({
    code: 'AGENT_ONLINE',
    advice: 'conflict',
    message: `Agent ${JSON.stringify(agentId)} has a session: stop it first, then remove it.`,
    details: { agentId },
  });
}

export function poolExists(name: string): DroverError {
  return new DroverError({
    code: 'POOL_EXISTS',
    advice: 'conflict',
    message: `There is a pool ${JSON.stringify(name)} already; names are compared without regard to case.`,
    details: { pool: name },
  });
}

export function poolNotFound(name: string): DroverError {
  return new DroverError({
    code: 'POOL_NOT_FOUND',
    advice: 'not-found',
    message: `There is no pool ${JSON.stringify(name)}.`,
    details: { pool: name },
  });
}

export function poolsFull(poolsMax: number): DroverError {
  return new DroverError({
    code: 'POOLS_FULL',
    advice: 'exhausted',
    message: `There are ${poolsMax} pools, which is the most of a fleet.`,
    details: { poolsMax },
  });
}

export function downtimeNotFound(downtimeId: string): DroverError {
  return new DroverError({
    code: 'DOWNTIME_NOT_FOUND',
    advice: 'not-found',
    message: `There is no downtime ${JSON.stringify(downtimeId)} (any more).`,
    details: { downtimeId },
  });
}

export function downtimesFull(downtimesMax: number): DroverError {
  return new DroverError({
    code: 'DOWNTIMES_FULL',
    advice: 'exhausted',
    message: `There are ${downtimesMax} downtimes, which is the most of a fleet; remove some that are over.`,
    details: { downtimesMax },
  });
}
