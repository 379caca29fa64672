import { DroverError } from '@drover/lease-kit';

/**
 * `promise`, or a rejection with the reason of the first of `signals` that is aborted before. What lies behind the promise
 * goes on.
 */
export function untilAborted<Result>(
  promise: Promise<Result>,
  ...signals: (AbortSignal | undefined)[]
): Promise<Result> {
  const given = signals.filter((signal) => signal !== undefined);
  const done = Promise.withResolvers<Result>();
  const abort = (event: Event) => done.reject((event.target as AbortSignal).reason);
  for (const signal of given) {
    if (signal.aborted) done.reject(signal.reason);
    else signal.addEventListener('abort', abort, { once: true });
  }
  promise.then(done.resolve, done.reject);
  return done.promise.finally(() => {
    for (const signal of given) signal.removeEventListener('abort', abort);
  });
}

/** `ATTEMPT_ENDED`: what was waited for cannot happen any more. */
export function attemptEnded(leaseId: string, attempt: number): DroverError {
  return new DroverError({
    code: 'ATTEMPT_ENDED',
    advice: 'conflict',
    message: `attempt ${attempt} of lease ${leaseId} has ended`,
  });
}

/** `GOING_DOWN_NEEDS_RESUME`: nobody could take up the attempt afterwards. */
export function goingDownNeedsResume(leaseType: string): DroverError {
  return new DroverError({
    code: 'GOING_DOWN_NEEDS_RESUME',
    advice: 'internal',
    message: `the handler of ${leaseType} has no resume, so that no later process could take the attempt up`,
  });
}

/** `HAND_OVER_BEFORE_GOING_DOWN`: no server knows yet that the process ends because of the attempt. */
export function handOverBeforeGoingDown(leaseType: string): DroverError {
  return new DroverError({
    code: 'HAND_OVER_BEFORE_GOING_DOWN',
    advice: 'internal',
    message: `the handler of ${leaseType} must await goingDown before it hands over`,
  });
}
