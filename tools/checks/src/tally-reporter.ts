import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import type { Reporter, TestModule } from 'vitest/node';

/** Environment variable that names the file a test run writes its {@link TestTally} to; absent means none. */
export const tallyFileVariable = 'DROVER_TEST_TALLY_FILE';

/** What a test run came to. vitest's own JSON report drops a file whose afterAll failed; this one does not. */
export interface TestTally {
  readonly files: readonly FileTally[];
  /** Errors that belong to no test: unhandled rejections, a worker that died, a global set-up that failed. */
  readonly strayErrors: readonly string[];
}

/** One test file's share. */
export interface FileTally {
  /** Folder name of the package, which is the name of its vitest project. */
  readonly project: string;
  /** Path from the workspace's root. */
  readonly file: string;
  readonly passed: number;
  readonly failed: number;
  /** Full names. */
  readonly skipped: readonly string[];
  /** Errors of the file or its suites outside any test: imports, hooks, what was left open. */
  readonly errors: readonly string[];
}

/** A vitest reporter that writes the {@link TestTally} of a run to `file`, whole or not at all. */
export function createTallyReporter(file: string, root: string): Reporter {
  return {
    onTestRunEnd(modules, unhandledErrors) {
      const tally: TestTally = {
        files: modules.map((module) => tallyOf(module, root)),
        strayErrors: unhandledErrors.map(({ message }) => message),
      };
      writeFileSync(file, JSON.stringify(tally));
    },
  };
}

function tallyOf(module: TestModule, root: string): FileTally {
  const tests = [...module.children.allTests()];
  const count = (state: string): number => tests.filter((test) => test.result().state === state).length;
  const suites = [module, ...module.children.allSuites()];
  return {
    project: module.project.name,
    file: relative(root, module.moduleId),
    passed: count('passed'),
    // A test that never ran to an end did not pass.
    failed: count('failed') + count('pending'),
    skipped: tests.filter((test) => test.result().state === 'skipped').map(({ fullName }) => fullName),
    errors: suites.flatMap((suite) => suite.errors().map(({ message }) => message)),
  };
}
