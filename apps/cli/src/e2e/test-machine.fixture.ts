import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { DroverProcess } from './drover-process.fixture.ts';
import { until, type ServerProcess, type TestFleet } from './test-fleet.fixture.ts';

/** What a machine is like. */
export interface TestMachineOptions {
  readonly id: string;
  /** How it comes back after it went down. Default: with a new boot id, and not at all after a shutdown. `late`: see `power`. */
  readonly comesBack?: 'new' | 'cut' | 'same' | 'late' | 'never';
  /** Lines of shell in place of the machine's own commands. */
  readonly restart?: string;
  readonly shutdown?: string;
  /** How long the agent waits for the machine to go down. Default 20 s. */
  readonly downWithin?: string;
  readonly flags?: readonly string[];
}

/** A machine that restarts and switches itself off, with an agent on it. */
export interface TestMachine {
  readonly process: DroverProcess;
  bootId(): string;
  /** Resolves when it has gone down. */
  down(): Promise<void>;
  /** Lets one that comes back late do so. */
  power(): void;
}

/** Switches a machine on; resolves when its agent has a session. */
export async function startMachine(
  fleet: TestFleet,
  server: ServerProcess,
  options: TestMachineOptions,
): Promise<TestMachine> {
  const { id, comesBack = 'new', downWithin = '20s', flags = [] } = options;
  const dir = fleet.path(`machine-${id}`);
  mkdirSync(dir);
  const signal = (name: string): string => `kill -${name} $(cat ${join(dir, 'pid')})`;
  const table = (type: string, line: string): string =>
    [
      `[lease_type."@drover/lease-type-${type}"]`,
      `command = ["/bin/sh", "-c", ${JSON.stringify(line)}]`,
      `down_within = "${downWithin}"`,
    ].join('\n');
  const config = join(dir, 'agent.toml');
  const tables = [
    table('restart', options.restart ?? signal('USR1')),
    table('shutdown', options.shutdown ?? signal('USR2')),
  ];
  writeFileSync(config, tables.join('\n'));
  const process = fleet.start(
    [
      comesBack,
      dir,
      `--config=${config}`,
      `--server-urls=${server.url}`,
      `--state-dir=${fleet.path(id)}`,
      `--agent-id=${id}`,
      '--resources-cores=1',
      ...flags,
    ],
    { entry: join(import.meta.dirname, 'machine.test.child.ts') },
  );
  await until(async () => {
    const { agents } = await server.client.fleet.listAgents({});
    expect(agents.find(({ agentId }) => agentId === id)?.online).toBe(true);
  });
  return {
    process,
    bootId: () => readFileSync(join(dir, 'boot-id'), 'utf8').trim(),
    down: () => fleet.made(join(`machine-${id}`, 'down')),
    power: () => writeFileSync(join(dir, 'power'), ''),
  };
}
