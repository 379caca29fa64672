import { DroverError, messageOf } from '@drover/lease-kit';
import { errors, jwtVerify, type JWTPayload } from 'jose';
import { taskTokenAlgorithm, taskTokenType, type TaskTokenClaims } from './task-token-claims.ts';
import type { TaskTokenKeys } from './task-token-keys.ts';

/** What a task token is held against. */
export interface TaskTokenChecks {
  readonly keys: TaskTokenKeys;
  /** The worker that checks. */
  readonly workerId: string;
  /** Of its registration that counts; undefined before the first. */
  readonly workerEpoch: number | undefined;
  readonly nowMs: number;
  /** How far the clocks of scheduler and worker may be apart, in ms. Default 30,000. */
  readonly clockSkewMs?: number;
}

const tokenLengthMax = 4_096;
/** No scheduler gives a token longer than this: one that says so is not remembered for years by a replay guard. */
const lifetimeMsMax = 3_600_000;

/**
 * What a task token says, if it is one of this worker's registration, signed by a key of the scheduler, and in its time. That
 * it is used once is for {@link TaskTokenReplayGuard} to see to. Throws `SIGNING_KEYS_MISSING` (`unavailable`) before the
 * scheduler was reached, and with advice `denied` `TASK_TOKEN_INVALID` (no such token, another algorithm, a key that nobody
 * has, another worker's), `TASK_TOKEN_EXPIRED`, and `TASK_TOKEN_VOID` (of an earlier registration of this worker).
 */
export async function checkTaskToken(token: string, checks: TaskTokenChecks): Promise<TaskTokenClaims> {
  const { keys, workerId, workerEpoch, nowMs, clockSkewMs = 30_000 } = checks;
  if (keys.size === 0 || workerEpoch === undefined) {
    throw new DroverError({
      code: 'SIGNING_KEYS_MISSING',
      advice: 'unavailable',
      message: 'The worker has not reached the scheduler yet, and so cannot tell a good task token from a bad one.',
      retryAfterMs: 1_000,
    });
  }
  if (token.length > tokenLengthMax) throw invalid(`it has ${token.length} characters; allowed are ${tokenLengthMax}`);
  let payload: JWTPayload;
  try {
    ({ payload } = await jwtVerify(
      token,
      ({ kid = '' }) => {
        const key = keys.get(kid);
        if (key === undefined) throw invalid('it is signed with a key that the scheduler has not told');
        return key;
      },
      {
        algorithms: [taskTokenAlgorithm],
        typ: taskTokenType,
        currentDate: new Date(nowMs),
        clockTolerance: clockSkewMs / 1_000,
        requiredClaims: ['iat', 'exp', 'jti'],
      },
    ));
  } catch (error) {
    if (error instanceof errors.JWTExpired) throw expired(error);
    if (error instanceof errors.JOSEError || error instanceof TypeError) throw invalid(messageOf(error), error);
    throw error;
  }
  const claims = claimsOf(payload);
  const { issuedAtMs, expiresAtMs } = claims;
  if (issuedAtMs > nowMs + clockSkewMs) throw invalid('it was made in the future; are the clocks right?');
  if (expiresAtMs - issuedAtMs > lifetimeMsMax) throw invalid(`it is valid for more than ${lifetimeMsMax / 1_000} s`);
  if (claims.workerId !== workerId)
    throw invalid(`it is for the worker ${JSON.stringify(claims.workerId.slice(0, 128))}`);
  if (claims.workerEpoch !== workerEpoch) {
    throw new DroverError({
      code: 'TASK_TOKEN_VOID',
      advice: 'denied',
      message: `The task token is of registration ${claims.workerEpoch} of worker ${workerId}, which has registered anew since.`,
      details: { workerId, workerEpoch },
    });
  }
  return claims;
}

function claimsOf(payload: JWTPayload): TaskTokenClaims {
  const { tenant_id: tenantId, image_digest: imageDigest, worker_id: workerId, worker_epoch: workerEpoch } = payload;
  const { jti: tokenId, iat, exp } = payload;
  if (
    !isName(tenantId) ||
    !isName(imageDigest) ||
    !isName(workerId) ||
    !isName(tokenId) ||
    !Number.isSafeInteger(workerEpoch) ||
    typeof iat !== 'number' ||
    typeof exp !== 'number'
  ) {
    throw invalid('it does not say tenant_id, image_digest, worker_id, worker_epoch, jti, iat and exp');
  }
  const times = { issuedAtMs: iat * 1_000, expiresAtMs: exp * 1_000 };
  return { tenantId, imageDigest, workerId, workerEpoch: workerEpoch as number, tokenId, ...times };
}

function isName(claim: unknown): claim is string {
  return typeof claim === 'string' && claim !== '' && claim.length <= 256;
}

function expired(cause: unknown): DroverError {
  return new DroverError({
    code: 'TASK_TOKEN_EXPIRED',
    advice: 'denied',
    message: 'The task token has expired; the scheduler gives another.',
    cause,
  });
}

function invalid(why: string, cause?: unknown): DroverError {
  return new DroverError({
    code: 'TASK_TOKEN_INVALID',
    advice: 'denied',
    message: `The task token is not right: ${why}.`,
    cause,
  });
}
