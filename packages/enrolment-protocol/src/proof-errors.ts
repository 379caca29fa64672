import { DroverError } from '@drover/lease-kit';

/** `PROOF_INVALID`: the proof of possession is not one, or is for another call. */
export function proofInvalid(problem: string, cause?: unknown): DroverError {
  return new DroverError({
    code: 'PROOF_INVALID',
    advice: 'denied',
    message: `The proof of possession (header dpop) is refused: ${problem}.`,
    cause,
  });
}

/**
 * `PROOF_STALE`: the proof is of another time, most likely because a clock is wrong. `serverTimeMs` of its details is the
 * server's wall time, with which the agent can correct its own.
 */
export function proofStale(aheadMs: number, serverTimeMs: number): DroverError {
  const seconds = Math.round(Math.abs(aheadMs) / 1_000);
  return new DroverError({
    code: 'PROOF_STALE',
    advice: 'denied',
    message: `The proof of possession is of ${seconds} s ${aheadMs > 0 ? 'ahead of' : 'before'} the server’s clock: it was kept, or a clock is wrong.`,
    details: { serverTimeMs },
  });
}
