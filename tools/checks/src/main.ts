import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Check } from './check.ts';
import { commandCheck } from './command-check.ts';
import { generatedCodeCheck } from './generated-code-check.ts';
import { limitsKeys } from './limits-keys.ts';
import { lintCheck } from './lint-check.ts';
import { protoBreakingCheck } from './proto-breaking-check.ts';
import { runChecks } from './run-checks.ts';
import { summarize } from './summarize.ts';
import { testCheck } from './test-check.ts';
import { workspaceRoot } from './workspace-root.ts';

/** Every check of the workspace: `npm test`. */
const reconcilerEntry = 'packages/reconciler-state-machine/src/check/main.ts';
const checks: Check[] = [
  lintCheck,
  commandCheck('typecheck', 'tsc', ['--noEmit', '-p', 'tsconfig.json', '--pretty']),
  commandCheck('format', 'prettier', ['--check', '.', '--log-level=warn']),
  commandCheck('buf lint', 'buf', ['lint']),
  protoBreakingCheck,
  generatedCodeCheck,
  commandCheck('dead code', 'knip', ['--no-progress', '--no-config-hints']),
  commandCheck('dependency drift', 'sherif', ['--fail-on-warnings']),
  testCheck,
];
if (existsSync(join(workspaceRoot, reconcilerEntry))) {
  const args = ['--conditions=@drover/source', reconcilerEntry];
  checks.splice(-1, 0, commandCheck('reconciler, exhaustively', 'node', args));
}

const lanes = 2;
const checkMsMax = 9 * 60_000;
const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

const abort = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => abort.abort());

const results = await runChecks(
  checks,
  {
    started: (name) => process.stdout.isTTY && process.stdout.write(`      ${name} …\n`),
    ended(name, { passed, failed, output }, elapsedMs) {
      const count = passed + failed > 1 ? `${passed} passed, ${failed} failed, ` : '';
      console.log(`${failed === 0 ? 'ok  ' : 'FAIL'}  ${name} (${count}${seconds(elapsedMs)})`);
      if (failed > 0) console.log(`\n${output.trimEnd()}\n`);
    },
  },
  { lanes, checkMsMax, signal: abort.signal },
);

if (abort.signal.aborted) {
  console.log('Stopped before the end.');
  process.exitCode = 130;
} else {
  const knownKeys = limitsKeys(readFileSync(join(workspaceRoot, 'docs/LIMITS.md'), 'utf8'));
  const isCi = /^(1|true)$/i.test(process.env['CI'] ?? '');
  const summary = summarize(results, { knownKeys, isCi });
  for (const remark of summary.remarks) console.log(remark);
  console.log(summary.line);
  process.exitCode = summary.exitCode;
}
