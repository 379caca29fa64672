import { JobState, type AgentStatus } from '@drover/control-api';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { TestFleet, jobEnded, until, type ServerProcess } from './test-fleet.fixture.ts';

async function agentOf(server: ServerProcess): Promise<AgentStatus> {
  const { agents } = await server.client.fleet.listAgents({});
  return agents[0]!;
}

const valuesOf = ({ description }: AgentStatus, key: string): string[] =>
  description!.properties.filter((one) => one.key.toLowerCase() === key).map(({ value }) => value);

test('what a machine is reaches the fleet, and what changes does within the session', async () => {
  await using fleet = await TestFleet.create();
  const server = await fleet.server();
  const facts = fleet.path('facts');
  writeFileSync(facts, 'rack=a6\n');
  const { process } = await fleet.agent(server, {
    flags: [
      `--facts-file=${facts}`,
      '--facts-interval=1h',
      '--resources-custom=licence=2',
      '--agent-properties=os=mine',
    ],
  });
  const before = await agentOf(server);
  expect(before.description!.resources).toMatchObject({ cores: 4n, licence: 2n });
  expect(valuesOf(before, 'osfamily')).toEqual([globalThis.process.platform]);
  expect(valuesOf(before, 'os')).toEqual(['mine']);
  // What takes long comes in later, without being asked for.
  await until(async () => expect(valuesOf(await agentOf(server), 'physicalcores')).toHaveLength(1));

  const needs = {
    requires: { condition: 'Rack == A7 && PhysicalCores >= 1 && RAM >= 1mb', resources: { licence: 1 } },
  };
  const job = await fleet.submit(server, fleet.jobFile('picky', { steps: { s: 'true' }, ...needs }));
  const why = await fleet.drover('why', job, '--server', server.url);
  expect(why.stdout).toMatch(/rack.*\(CONDITION_FALSE\)$/im);
  writeFileSync(facts, 'nonsense\n');
  process.signal('SIGHUP');
  await process.line(/facts:1: is no KEY=VALUE/);
  writeFileSync(facts, 'rack=a7\n');
  process.signal('SIGHUP');
  expect((await jobEnded(server, job)).state).toBe(JobState.SUCCEEDED);
  const after = await agentOf(server);
  expect(valuesOf(after, 'rack')).toEqual(['a7']);
  expect(after.epoch).toBe(before.epoch);
});

test('a disk that runs low, and a person who needs the machine, keep leases away until that is over [limits:needs-tmpfs]', async (context) => {
  await using fleet = await TestFleet.create();
  const small = fleet.path('scratch');
  mkdirSync(small);
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'drover-test', small]).status !== 0) context.skip();
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => void spawnSync('umount', ['-l', small]));
  const server = await fleet.server();
  const cache = join(small, 'cache');
  mkdirSync(join(cache, 'entry'), { recursive: true });
  const { process, stateDir } = await fleet.agent(server, {
    flags: [`--disk-folders=${small}`, '--disk-free-min=2mb', '--disk-interval=100ms', `--cleanup-folders=${cache}`],
  });
  const says = (code: string) => until(async () => expect((await agentOf(server)).conditionReason?.code).toBe(code));
  // What can be had again is removed, and there is room.
  writeFileSync(join(cache, 'entry', 'file'), Buffer.alloc(7 * 2 ** 20, 1));
  await process.line(/removed 1 of entries of/);
  await process.line(/there is room on every disk again/);
  expect(existsSync(join(cache, 'entry'))).toBe(false);
  // What cannot stays, and nothing is begun.
  writeFileSync(join(small, 'precious'), Buffer.alloc(7 * 2 ** 20, 1));
  await says('DISK_SPACE_LOW');
  const listed = await fleet.drover('agents', '--server', server.url);
  expect(listed.stdout).toMatch(/^agent-1 +unhealthy: DISK_SPACE_LOW /m);
  const waiting = await fleet.submit(server, fleet.jobFile('waiting', { steps: { s: 'true' } }));
  const why = await fleet.drover('why', waiting, '--server', server.url);
  expect(why.stdout).toMatch(/agent-1 .*scratch has 1mb free, at least 2mb is wanted \(UNHEALTHY\)$/m);
  rmSync(join(small, 'precious'));
  expect((await jobEnded(server, waiting)).state).toBe(JobState.SUCCEEDED);

  const said = await fleet.drover('agent', 'busy', '--for', '1h', '--comment', 'a demo', '--state-dir', stateDir);
  expect(said.stdout).toMatch(/^busy until \S+Z\n$/);
  await says('BUSY_LOCALLY');
  expect((await agentOf(server)).conditionReason?.message).toMatch(/until \S+Z: a demo$/);
  const later = await fleet.submit(server, fleet.jobFile('later', { steps: { s: 'true' } }));
  expect((await fleet.drover('agent', 'free', '--state-dir', stateDir)).code).toBe(0);
  expect((await jobEnded(server, later)).state).toBe(JobState.SUCCEEDED);
});
