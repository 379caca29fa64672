/** A check or a test that this machine could not run. */
export interface Skip {
  /** What was skipped. */
  readonly name: string;
  /** Key of the row in docs/LIMITS.md that says why; absent when the skip names none. */
  readonly key: string | undefined;
}

/** What a check came to. A check that is not a test run counts one. */
export interface CheckResult {
  readonly passed: number;
  readonly failed: number;
  readonly skips: readonly Skip[];
  /** Printed in full when something failed. */
  readonly output: string;
  /** How many tests ran; absent for a check that runs none. */
  readonly testsRun?: number;
}

/** One thing that `npm test` looks at. */
export interface Check {
  readonly name: string;
  /** How many of the two lanes it takes while it runs. */
  readonly lanes: 1 | 2;
  /** Abort ends every process that it started. */
  run(signal: AbortSignal): Promise<CheckResult>;
}

/** The result of a check that counts one. */
export function oneResult(hasPassed: boolean, output: string): CheckResult {
  return { passed: hasPassed ? 1 : 0, failed: hasPassed ? 0 : 1, skips: [], output };
}
