import { packagesCheck } from './packages-check.ts';
import { runChecks } from './run-checks.ts';
import { summarize } from './summarize.ts';
import { longTestCheck } from './test-check.ts';

/** What takes too long for every change: `npm run check:packages`. */
const checkMsMax = 20 * 60_000;

const abort = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => abort.abort());

const results = await runChecks(
  [packagesCheck, longTestCheck],
  {
    started: (name) => console.log(`      ${name} …`),
    ended(name, { failed, output }, elapsedMs) {
      console.log(`${failed === 0 ? 'ok  ' : 'FAIL'}  ${name} (${(elapsedMs / 1_000).toFixed(1)} s)`);
      if (failed > 0) console.log(`\n${output.trimEnd()}\n`);
    },
  },
  { lanes: 2, checkMsMax, signal: abort.signal },
);
const summary = summarize(results, { knownKeys: new Set(), isCi: false });
for (const remark of summary.remarks) console.log(remark);
console.log(summary.line);
process.exitCode = abort.signal.aborted ? 130 : summary.exitCode;
