import { DroverError, type Clock } from '@drover/lease-kit';
import type { CompileWorkerRef } from '@drover/lease-store';
import { errors, jwtVerify, SignJWT } from 'jose';
import type { SchedulerKeys } from './scheduler-keys.ts';

/** A worker's session, as its token says it. */
export interface WorkerSession extends CompileWorkerRef {
  readonly expiresAtMs: number;
}

const sessionType = 'drover-compile-worker+jwt';
const algorithm = 'EdDSA';
const tokenLengthMax = 4_096;
/** How far the clocks of two servers may be apart. */
const serverSkewMs = 30_000;

/**
 * Sessions of workers, as signed tokens: every server of the fleet knows them, and none has to remember them. That another
 * process has become the worker is in the store, which each write of the session looks at.
 */
export class WorkerSessions {
  readonly #keys: SchedulerKeys;
  readonly #clock: Clock;
  /** How long a session lasts without being renewed, in ms. */
  readonly validMs: number;

  constructor(validMs: number, { keys, clock }: { readonly keys: SchedulerKeys; readonly clock: Clock }) {
    this.validMs = validMs;
    this.#keys = keys;
    this.#clock = clock;
  }

  /** Signs a token for a session that begins or goes on. */
  async token({ workerId, instanceNonce }: CompileWorkerRef): Promise<string> {
    const { keyId, key } = await this.#keys.signer();
    const nowMs = this.#clock.wallMs();
    return new SignJWT({ nonce: instanceNonce })
      .setProtectedHeader({ alg: algorithm, typ: sessionType, kid: keyId })
      .setSubject(workerId)
      .setIssuedAt(Math.floor(nowMs / 1_000))
      .setExpirationTime(Math.ceil((nowMs + this.validMs) / 1_000))
      .sign(key);
  }

  /** Throws `WORKER_SESSION_INVALID` (`denied`): the worker opens another. */
  async verify(token: string): Promise<WorkerSession> {
    if (token.length > tokenLengthMax) throw sessionInvalid();
    try {
      const { payload } = await jwtVerify(
        token,
        async ({ kid = '' }) => {
          const key = await this.#keys.verifier(kid);
          if (key === undefined) throw sessionInvalid();
          return key;
        },
        {
          algorithms: [algorithm],
          typ: sessionType,
          clockTolerance: serverSkewMs / 1_000,
          currentDate: new Date(this.#clock.wallMs()),
          requiredClaims: ['sub', 'exp', 'nonce'],
        },
      );
      return {
        workerId: payload.sub!,
        instanceNonce: String(payload['nonce']),
        expiresAtMs: payload.exp! * 1_000,
      };
    } catch (error) {
      if (error instanceof errors.JOSEError || error instanceof TypeError) throw sessionInvalid(error);
      throw error;
    }
  }
}

/** The error for a call without a session that is right. */
export function sessionInvalid(cause?: unknown): DroverError {
  return new DroverError({
    code: 'WORKER_SESSION_INVALID',
    advice: 'denied',
    message:
      'The session of the worker is not one of this fleet, or has expired. The worker opens another with its token.',
    cause,
  });
}
