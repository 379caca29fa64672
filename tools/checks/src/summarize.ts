import type { CheckResult, Skip } from './check.ts';

/** The end of a run. */
export interface Summary {
  /** The last line that is printed: `N passed, N failed`, and `, N skipped` when any was. */
  readonly line: string;
  readonly exitCode: number;
  /** Lines to print before it. */
  readonly remarks: readonly string[];
}

/**
 * Sums up a run. A run in which no test ran has failed. With `isCi`, a skip that docs/LIMITS.md does not name counts as
 * a failure too; without, it is only pointed out.
 */
export function summarize(
  results: readonly CheckResult[],
  options: { readonly knownKeys: ReadonlySet<string>; readonly isCi: boolean },
): Summary {
  const skips = results.flatMap((result) => result.skips);
  const unnamed = skips.filter(({ key }) => key === undefined || !options.knownKeys.has(key));
  const hasNoTest = results.reduce((total, { testsRun = 0 }) => total + testsRun, 0) === 0;
  const passed = results.reduce((total, result) => total + result.passed, 0);
  const failed =
    results.reduce((total, result) => total + result.failed, 0) +
    (options.isCi ? unnamed.length : 0) +
    (hasNoTest && !results.some(({ failed }) => failed > 0) ? 1 : 0);
  return {
    line: `${passed} passed, ${failed} failed${skips.length > 0 ? `, ${skips.length} skipped` : ''}`,
    exitCode: failed > 0 ? 1 : 0,
    remarks: [
      ...skips.map((skip) => `skipped  ${skip.name}${reasonOf(skip, options.knownKeys)}`),
      ...(hasNoTest ? ['no test ran'] : []),
    ],
  };
}

function reasonOf({ key }: Skip, knownKeys: ReadonlySet<string>): string {
  if (key === undefined) return ' (it names no reason; add [limits:key] to its name)';
  return knownKeys.has(key) ? ` (docs/LIMITS.md: ${key})` : ` (docs/LIMITS.md has no row ${key})`;
}
