import { parseArgs } from 'node:util';
import { operatorsDay } from './operators-day/operators-day.ts';
import type { Scenario } from './scenario.ts';

const scenarios: readonly Scenario[] = [operatorsDay];

const usage = `Usage: npm run scenario -- NAME [--agents N] [--jobs N] [--json] [--keep]

${scenarios.map(({ name, about }) => `  ${name.padEnd(14)} ${about}`).join('\n')}

  --agents N   how many machines; 30 if not said, 1 to 100
  --jobs N     how many jobs; 200 if not said, 1 to 1000
  --json       prints one JSON object on standard output, and everything else on standard error
  --keep       leaves the folder with the logs of all processes
`;

/** Status 0: all is well; 1: it is not; 2: the arguments are wrong; 130: ended by a signal. */
async function main(): Promise<number> {
  let parsed;
  try {
    parsed = parseArgs({
      allowPositionals: true,
      options: {
        agents: { type: 'string', default: '30' },
        jobs: { type: 'string', default: '200' },
        json: { type: 'boolean', default: false },
        keep: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h' },
      },
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
  const scenario = scenarios.find(({ name }) => name === positionals[0]);
  const agents = Number(values.agents);
  const jobs = Number(values.jobs);
  if (scenario === undefined || positionals.length !== 1)
    return wrong(`Name one scenario: ${scenarios.map(({ name }) => name).join(', ')}.`);
  if (!Number.isInteger(agents) || agents < 1 || agents > 100)
    return wrong(`--agents is ${values.agents}; allowed: 1 to 100.`);
  if (!Number.isInteger(jobs) || jobs < 1 || jobs > 1_000)
    return wrong(`--jobs is ${values.jobs}; allowed: 1 to 1000.`);
  const stopping = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stopping.abort());
  const say = (text: string): void => (values.json ? console.error(text) : console.log(text));
  const result = (report: object): void => {
    if (values.json) console.log(JSON.stringify(report));
  };
  try {
    const isWell = await scenario.run({ say, result, signal: stopping.signal, agents, jobs, keep: values.keep });
    return isWell ? 0 : 1;
  } catch (error) {
    if (stopping.signal.aborted) return 130;
    console.error(error);
    return 1;
  }
}

function wrong(why: string): number {
  console.error(`${why}\n\n${usage}`);
  return 2;
}

process.exitCode = await main();
// The launcher's channel is open while it lives.
process.disconnect?.();
