import { describeAgent, type MachineDescription } from '@drover/lease-agent';
import type { AgentConfig } from './agent-config.ts';
import { machineOptions } from './machine-options.ts';

/** Keys and resources whose numbers are bytes. */
const inBytes: ReadonlySet<string> = new Set(['ram', 'disksize', 'diskfree', 'gpumemory']);

/** What `drover agent --print-facts` prints: what conditions and needs can name on this machine. */
export function factsText(config: AgentConfig, machine: MachineDescription): string {
  const { properties: told, resources } = machineOptions(config);
  const options = { stateDir: config.state.dir, properties: told, resources };
  const { description } = describeAgent(options, machine, [], 1);
  const rows: (readonly [name: string, value: string])[] = [...description.properties]
    .sort((a, b) =>
      a.key.toLowerCase() < b.key.toLowerCase() ? -1 : a.key.toLowerCase() > b.key.toLowerCase() ? 1 : 0,
    )
    .map(({ key, value }) => [key, value]);
  const counted = Object.entries(description.resources).map(([name, count]) => [name, String(count)] as const);
  const width = Math.max(...[...rows, ...counted].map(([name]) => name.length));
  const line = ([name, value]: readonly [string, string]): string =>
    `  ${name.padEnd(width)}  ${value}${inBytes.has(name.toLowerCase()) ? inGigabytes(value) : ''}`;
  return [
    'Properties, for conditions (a key with several values satisfies a comparison if one of them does):',
    ...rows.map(line),
    '',
    'Counted resources, for what a step needs:',
    ...counted.map(line),
    '',
  ].join('\n');
}

function inGigabytes(value: string): string {
  const bytes = Number(value);
  return Number.isFinite(bytes) ? `  (${(bytes / 2 ** 30).toFixed(1)}gb)` : '';
}
