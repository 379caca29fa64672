import { DroverError } from '@drover/lease-kit';
import type { EnrolmentRecord } from './enrolment-store.ts';

/** Why a registration token enrols nobody. */
export type TokenRefusal = 'invalid' | 'expired' | 'revoked' | 'used';

const tokenRefusals: Readonly<Record<TokenRefusal, readonly [code: string, message: string]>> = {
  invalid: ['ENROLMENT_TOKEN_INVALID', 'There is no such registration token.'],
  expired: ['ENROLMENT_TOKEN_EXPIRED', 'The registration token has expired.'],
  revoked: ['ENROLMENT_TOKEN_REVOKED', 'The registration token has been revoked.'],
  used: ['ENROLMENT_TOKEN_USED', 'The registration token has been used as often as it may.'],
};

export function enrolmentTokenRefused(why: TokenRefusal): DroverError {
  const [code, message] = tokenRefusals[why];
  return new DroverError({
    code,
    advice: 'denied',
    message: `${message} An operator makes one: drover enrolment-tokens create.`,
  });
}

export function enrolmentTokenNotFound(tokenId: string): DroverError {
  return new DroverError({
    code: 'ENROLMENT_TOKEN_NOT_FOUND',
    advice: 'not-found',
    message: `There is no registration token ${JSON.stringify(tokenId)} (any more).`,
    details: { tokenId },
  });
}

export function enrolmentTokensFull(max: number): DroverError {
  return new DroverError({
    code: 'ENROLMENT_TOKENS_FULL',
    advice: 'exhausted',
    message: `There are ${max} registration tokens, which is the most allowed; they go 30 days after they have expired.`,
  });
}

/** The id has another key, and nobody has said that this one may replace it. */
export function agentIdTaken(agentId: string): DroverError {
  return new DroverError({
    code: 'AGENT_ID_TAKEN',
    advice: 'denied',
    message: `Agent ${agentId} is enrolled with another key. Give this machine an id of its own; or, to lock the other out, enrol with a token that may replace agents, or without one and have it approved.`,
    details: { agentId },
  });
}

/** One key is one agent. */
export function agentKeyTaken(agentId: string, otherId: string): DroverError {
  return new DroverError({
    code: 'AGENT_KEY_TAKEN',
    advice: 'denied',
    message: `This key is that of agent ${otherId}; agent ${agentId} needs one of its own, in a state folder of its own.`,
    details: { agentId, otherId },
  });
}

export function poolNotAllowed(pool: string, allowed: readonly string[]): DroverError {
  return new DroverError({
    code: 'POOL_NOT_ALLOWED',
    advice: 'denied',
    message: `The agent asks for pool ${JSON.stringify(pool)}; its registration token allows: ${allowed.join(', ')}.`,
    details: { pool },
  });
}

export function agentRevoked(agentId: string): DroverError {
  return new DroverError({
    code: 'AGENT_REVOKED',
    advice: 'denied',
    message: `Agent ${agentId} has been revoked. An operator can give its key back: drover agents approve ${agentId}.`,
    details: { agentId },
  });
}

export function enrolmentRejected(agentId: string): DroverError {
  return new DroverError({
    code: 'ENROLMENT_REJECTED',
    advice: 'denied',
    message: `An operator does not want this machine as agent ${agentId}.`,
    details: { agentId },
  });
}

export function enrolmentsFull(what: string, max: number): DroverError {
  return new DroverError({
    code: 'ENROLMENTS_FULL',
    advice: 'exhausted',
    message: `${max} ${what}, which is the most allowed.`,
    retryAfterMs: 30_000,
  });
}

export function enrolmentNotPending(agentId: string): DroverError {
  return new DroverError({
    code: 'ENROLMENT_NOT_PENDING',
    advice: 'not-found',
    message: `No machine waits to be approved as agent ${JSON.stringify(agentId)}; "drover agents pending" lists those that do.`,
    details: { agentId },
  });
}

export function enrolmentAmbiguous(agentId: string, thumbprints: readonly string[]): DroverError {
  return new DroverError({
    code: 'ENROLMENT_AMBIGUOUS',
    advice: 'fix-input',
    message: `Several machines ask to be agent ${agentId}; name one by its key: ${thumbprints.join(', ')}.`,
    details: { agentId },
  });
}

/**
 * Throws `ENROLMENT_AMBIGUOUS` where an id alone is approved and means two machines: the one that was revoked, which would come
 * back, and another one that asks for its id.
 */
export function checkOneIsMeant(
  asking: { readonly agentId: string; readonly keyThumbprint: string },
  named: string | undefined,
  enrolment: EnrolmentRecord | undefined,
): void {
  if (named !== undefined || enrolment?.state !== 'revoked') return;
  throw enrolmentAmbiguous(asking.agentId, [enrolment.keyThumbprint, asking.keyThumbprint]);
}

export function enrolmentNotFound(agentId: string): DroverError {
  return new DroverError({
    code: 'ENROLMENT_NOT_FOUND',
    advice: 'not-found',
    message: `No agent ${JSON.stringify(agentId)} has been enrolled.`,
    details: { agentId },
  });
}
