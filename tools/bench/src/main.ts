import { parseArgs } from 'node:util';
import { assignmentSuite } from './suites/assignment.ts';
import { discoverySuite } from './suites/discovery.ts';
import { fleetSuite } from './suites/fleet.ts';
import { herdFilesSuite } from './suites/herd-files.ts';
import { herdTasksSuite } from './suites/herd-tasks.ts';
import { throughputSuite } from './suites/throughput.ts';
import type { Suite, SuiteResult } from './suite.ts';

const suites: readonly Suite[] = [
  assignmentSuite,
  throughputSuite,
  fleetSuite,
  herdFilesSuite,
  herdTasksSuite,
  discoverySuite,
];

const usage = `Usage: npm run bench -- SUITE [--json] [--quick]

${suites.map(({ name, about }) => `  ${name.padEnd(12)} ${about}`).join('\n')}

  --json       prints one JSON object on standard output, and everything else on standard error
  --quick      a short run, to see that a suite works; its figures mean nothing
`;

/** Status 0: measured; 1: it failed; 2: the arguments are wrong; 130: ended by a signal. */
async function main(): Promise<number> {
  let parsed;
  try {
    parsed = parseArgs({
      allowPositionals: true,
      options: { json: { type: 'boolean' }, quick: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
    });
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    return 2;
  }
  const { values, positionals } = parsed;
  if (values.help === true) {
    console.log(usage);
    return 0;
  }
  const [name] = positionals;
  const suite = suites.find((one) => one.name === name);
  if (suite === undefined || positionals.length !== 1) {
    console.error(`Name one suite: ${suites.map((one) => one.name).join(', ')}.\n\n${usage}`);
    return 2;
  }
  const json = values.json === true;
  const say = (text: string): void => (json ? console.error(text) : console.log(text));
  const stopping = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stopping.abort());
  try {
    const result = await suite.run({ say, signal: stopping.signal, quick: values.quick === true });
    console.log(json ? JSON.stringify(result) : table(result));
    return 0;
  } catch (error) {
    if (stopping.signal.aborted) return 130;
    console.error(error);
    return 1;
  }
}

function table({ suite, figures, ratios }: SuiteResult): string {
  const rows = (title: string, values: Readonly<Record<string, number>>): string[] => {
    const width = Math.max(...Object.keys(values).map((name) => name.length), 0);
    return [title, ...Object.entries(values).map(([name, value]) => `  ${name.padEnd(width)}  ${value}`)];
  };
  return ['', `Suite ${suite}`, ...rows('figures', figures), ...rows('ratios (Drover over peer)', ratios)].join('\n');
}

process.exitCode = await main();
// The launcher's channel is open while it lives.
process.disconnect?.();
