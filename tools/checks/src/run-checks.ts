import type { Check, CheckResult } from './check.ts';

/** What {@link runChecks} tells while it runs. */
export interface ChecksProgress {
  started(name: string): void;
  ended(name: string, result: CheckResult, elapsedMs: number): void;
}

/** The bounds of a run. */
export interface RunChecksOptions {
  /** How many lanes there are. */
  readonly lanes: number;
  /** How long one check may take. */
  readonly checkMsMax: number;
  /** Ends the run: what runs is killed, what waits is not started. */
  readonly signal: AbortSignal;
}

/**
 * Runs the checks in order, as many at once as the lanes allow; one that takes both lanes waits until it is alone. A
 * check that throws or takes too long has failed. Returns the results of those that ran, in the order of `checks`.
 */
export async function runChecks(
  checks: readonly Check[],
  progress: ChecksProgress,
  options: RunChecksOptions,
): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  const running = new Set<Promise<void>>();
  let free = options.lanes;

  async function runOne(check: Check, index: number): Promise<void> {
    const startedAt = performance.now();
    progress.started(check.name);
    const result = await runBounded(check, options);
    results[index] = result;
    progress.ended(check.name, result, performance.now() - startedAt);
  }

  for (const [index, check] of checks.entries()) {
    while (free < check.lanes) await Promise.race(running);
    if (options.signal.aborted) break;
    free -= check.lanes;
    const run = runOne(check, index).finally(() => {
      free += check.lanes;
      running.delete(run);
    });
    running.add(run);
  }
  await Promise.all(running);
  return results.filter((result) => result !== undefined);
}

async function runBounded(check: Check, options: RunChecksOptions): Promise<CheckResult> {
  const timeLimit = AbortSignal.timeout(options.checkMsMax);
  const failure = (output: string): CheckResult => ({ passed: 0, failed: 1, skips: [], output });
  try {
    const result = await check.run(AbortSignal.any([options.signal, timeLimit]));
    if (!timeLimit.aborted || result.failed > 0) return result;
    return failure(`${result.output}\nIt took longer than ${options.checkMsMax / 1000} s.\n`);
  } catch (error) {
    return failure(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
}
