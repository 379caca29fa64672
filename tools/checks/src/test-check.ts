import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Check, CheckResult } from './check.ts';
import { limitsKeyOf } from './limits-keys.ts';
import { projectsWithCode } from './projects-with-code.ts';
import { runCommand } from './run-command.ts';
import { tallyFileVariable, type TestTally } from './tally-reporter.ts';
import { workspaceRoot } from './workspace-root.ts';

/** Set to 1 for a run of the tests that take minutes, `*.long.test.ts`, and of no others. */
export const longTestsVariable = 'DROVER_LONG_TESTS';

/** Every test of every project in one run of vitest: unit, property, Postgres and end-to-end. */
export const testCheck: Check = vitestCheck('tests', {}, () => projectsWithCode(workspaceRoot));

/** The tests that take minutes. */
export const longTestCheck: Check = vitestCheck('long tests', { [longTestsVariable]: '1' }, () => ['apps']);

/** `projects`: those that must have a test. */
function vitestCheck(name: string, env: Readonly<Record<string, string>>, projects: () => readonly string[]): Check {
  return {
    name,
    lanes: 2,
    async run(signal) {
      const folder = await mkdtemp(join(tmpdir(), 'drover-tally-'));
      try {
        const tallyFile = join(folder, 'tally.json');
        const { status, output } = await runCommand('vitest', ['run'], {
          signal,
          env: { ...env, [tallyFileVariable]: tallyFile },
        });
        return countTests(await readTally(tallyFile), { projects: projects(), status, output });
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
}

async function readTally(file: string): Promise<TestTally | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as TestTally;
  } catch {
    return undefined; // vitest did not get to its end
  }
}

/** What a run of vitest counts; each failure that belongs to no test counts one too, so that none is lost. */
export function countTests(
  tally: TestTally | undefined,
  run: { readonly projects: readonly string[]; readonly status: number | undefined; readonly output: string },
): CheckResult {
  if (tally === undefined) {
    return { passed: 0, failed: 1, skips: [], testsRun: 0, output: `${run.output}\nvitest ended before its report.\n` };
  }
  const sum = (pick: (file: TestTally['files'][number]) => number): number =>
    tally.files.reduce((total, file) => total + pick(file), 0);
  const passed = sum((file) => file.passed);
  const testsFailed = sum((file) => file.failed);
  const tested = new Set(tally.files.filter((file) => file.passed + file.failed > 0).map(({ project }) => project));
  const problems = [
    ...tally.files.flatMap(({ file, errors }) => errors.map((error) => `${file}: ${error}`)),
    ...tally.strayErrors,
    ...run.projects.filter((name) => !tested.has(name)).map((name) => `project ${name} has no test`),
  ];
  if (passed + testsFailed === 0) problems.push('no test ran');
  if (run.status !== 0 && testsFailed + problems.length === 0) {
    problems.push(`vitest ended with status ${run.status ?? 'unknown'} without a failure to show for it`);
  }
  return {
    passed,
    failed: testsFailed + problems.length,
    testsRun: passed + testsFailed,
    skips: tally.files.flatMap(({ file, skipped }) =>
      skipped.map((name) => ({ name: `${file}: ${name}`, key: limitsKeyOf(name) })),
    ),
    output: `${run.output}\n${problems.map((problem) => `${problem}\n`).join('')}`,
  };
}
