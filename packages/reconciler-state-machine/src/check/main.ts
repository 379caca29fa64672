import { parseArgs } from 'node:util';
import { guardNames, type GuardName } from '../guards.ts';
import { explore, exchangesMax, type Exploration } from './explore.ts';
import { budgetNames, defaultBounds, noDisturbance, settingOf, type Bounds } from './world.ts';

/*
 * npm run check:reconciler [-- --leases N --attempts N --losses N … --guards-off NAME --json]
 *
 * Without bounds: the product at the stated bounds, then smaller ones for what the first leaves out (time-outs and expiry;
 * going down, absence and times to start; digests against a damaged memory). With bounds or guards off: that one alone, the rest as in the first.
 * Ends with 0 if every invariant holds, 1 if one is broken, 2 if the options are wrong.
 */

interface Check {
  readonly name: string;
  readonly bounds: Bounds;
  readonly precise?: boolean;
}

const standardChecks: readonly Check[] = [
  { name: 'product', bounds: defaultBounds },
  {
    name: 'time-outs and expiry',
    bounds: { ...defaultBounds, leases: 1, losses: 0, cuts: 0, timeouts: 1, expiries: 1 },
  },
  {
    name: 'going down, absence and offers that nobody takes',
    bounds: { ...defaultBounds, leases: 1, attempts: 1, losses: 0, timeouts: 1, expiries: 1, absences: 1 },
  },
  {
    name: 'digests and a damaged memory',
    bounds: { ...noDisturbance, damages: 1 },
    precise: true,
  },
];

const boundNames = ['leases', 'attempts', 'absences', ...budgetNames] as const;
const optionOf = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** What the command line asks for. Throws an Error with a sentence if it makes no sense. */
function readOptions(args: readonly string[]): {
  checks: readonly Check[];
  removed: readonly GuardName[];
  json: boolean;
} {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: 'boolean', default: false },
      'guards-off': { type: 'string', multiple: true, default: [] },
      ...Object.fromEntries(boundNames.map((name) => [optionOf(name), { type: 'string' as const }])),
    },
  });
  const removed = (values['guards-off'] as readonly string[]).map((name) => {
    if (!guardNames.includes(name as GuardName)) {
      throw new Error(`--guards-off ${name}: no such guard. There are: ${guardNames.join(', ')}.`);
    }
    return name as GuardName;
  });
  const given: Partial<Record<(typeof boundNames)[number], number>> = {};
  for (const name of boundNames) {
    const text = (values as Record<string, unknown>)[optionOf(name)];
    if (text === undefined) continue;
    const [min, max] = name === 'leases' || name === 'attempts' ? [1, 2] : [0, name === 'absences' ? 1 : 3];
    const value = Number(text);
    if (!Number.isInteger(value) || value < min || value > max) {
      throw new Error(`--${optionOf(name)} ${String(text)}: a whole number from ${min} to ${max}, please.`);
    }
    given[name] = value;
  }
  const json = values.json === true;
  if (removed.length === 0 && Object.keys(given).length === 0) return { checks: standardChecks, removed, json };
  return { checks: [{ name: 'as asked', bounds: { ...defaultBounds, ...given } }], removed, json };
}

function boundsText(bounds: Bounds): string {
  return boundNames.map((name) => `${bounds[name]} ${optionOf(name).replaceAll('-', ' ')}`).join(', ');
}

function print(check: Check, found: Exploration, seconds: number): void {
  const { violation } = found;
  console.log(`${check.name}: ${boundsText(check.bounds)}`);
  console.log(
    `  ${found.states} states, ${found.nodes} with what is left of the budgets, ${found.transitions} transitions, ` +
      `depth ${found.depth}, ${seconds.toFixed(1)} s`,
  );
  if (violation === undefined) {
    console.log(`  0 violations; in sync after at most ${found.exchangesMax} exchanges without faults`);
    return;
  }
  console.log(`  1 violation: I${violation.invariant}: ${violation.message}`);
  for (const [index, step] of violation.steps.entries()) console.log(`  ${String(index + 1).padStart(4)}. ${step}`);
}

function main(args: readonly string[]): number {
  const { checks, removed, json } = readOptions(args);
  if (!json && removed.length > 0) console.log(`without ${removed.join(', ')}:`);
  const results = [];
  for (const check of checks) {
    const startMs = performance.now();
    const found = explore(settingOf(check.bounds, removed, check.precise), { exchangesMax });
    const seconds = (performance.now() - startMs) / 1000;
    if (!json) print(check, found, seconds);
    results.push({
      name: check.name,
      bounds: check.bounds,
      removed,
      seconds,
      ...found,
      violations: found.violation ? 1 : 0,
    });
  }
  const violations = results.reduce((sum, { violations: some }) => sum + some, 0);
  const states = results.reduce((sum, result) => sum + result.states, 0);
  const depth = Math.max(...results.map((result) => result.depth));
  if (json) console.log(JSON.stringify({ states, depth, violations, checks: results }, undefined, 2));
  else console.log(`states ${states}, depth ${depth}, violations ${violations}`);
  return violations === 0 ? 0 : 1;
}

try {
  process.exitCode = main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 2;
}
