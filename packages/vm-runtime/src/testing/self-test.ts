import { sandboxCases, type SandboxSubject } from './sandbox-cases.ts';

/** What became of one case. */
export interface SelfTestResult {
  readonly name: string;
  /** `left-out`: this driver's isolation does not have it. */
  readonly outcome: 'passed' | 'failed' | 'left-out';
  readonly tookMs: number;
  /** Why it failed; empty otherwise. */
  readonly message: string;
}

/**
 * Runs every case that drivers pass against a driver on the machine at hand, one after the other, for an operator who wants to know
 * whether sandboxes do there what they should. Cases start and stop sandboxes of their own, and fill, bomb and kill them. Yields each
 * result when it is there; a driver whose isolation is `none` leaves out what a host must not be put to. An abort ends it after the case
 * that runs, by throwing the signal's reason. `caseMsMax`: a case that takes longer has failed; what it has started is the driver's to end.
 */
export async function* selfTest(
  subject: SandboxSubject,
  signal: AbortSignal,
  caseMsMax = 180_000,
): AsyncGenerator<SelfTestResult> {
  const isIsolated = subject.driver.isolation.level !== 'none';
  for (const { name, needs, run } of sandboxCases) {
    signal.throwIfAborted();
    if (needs === 'isolation' && !isIsolated) {
      yield { name, outcome: 'left-out', tookMs: 0, message: '' };
      continue;
    }
    const began = performance.now();
    let message: string | undefined;
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new Error(`it is not done after ${caseMsMax} ms`)), caseMsMax);
    try {
      await Promise.race([run(subject), late]);
    } catch (error) {
      message = error instanceof Error ? error.message : String(error);
    } finally {
      clearTimeout(timer);
    }
    const tookMs = Math.round(performance.now() - began);
    yield { name, outcome: message === undefined ? 'passed' : 'failed', tookMs, message: message ?? '' };
  }
}
