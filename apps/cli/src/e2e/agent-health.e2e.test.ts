import { AgentHealthState, JobState } from '@drover/control-api';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { jobEnded, TestFleet, until, type ServerProcess } from './test-fleet.fixture.ts';

/** A folder with a tool that ends like this; agents find it by their PATH. */
function tool(fleet: TestFleet, machine: string, exitCode: number): string {
  const dir = fleet.path(`bin-${machine}`);
  mkdirSync(dir, { recursive: true });
  writeFileSync(`${dir}/tool`, `#!/bin/sh\nexit ${exitCode}\n`);
  chmodSync(`${dir}/tool`, 0o755);
  return dir;
}

const healthOf = async (server: ServerProcess, agentId: string) =>
  (await server.client.health.getAgentHealth({ agentId })).health!;

test('a machine that fails what others do is tried, quarantined, and works again once it is repaired; a bad job harms nobody', async () => {
  await using fleet = await TestFleet.create();
  const flags = ['--health-interval=200ms', '--health-canary-exe=tool', '--health-canary-retry=2s'];
  const server = await fleet.server({ flags });
  const agent = async (id: string, exitCode: number) => {
    const env = { PATH: `${tool(fleet, id, exitCode)}:${process.env['PATH'] ?? ''}` };
    return fleet.agent(server, { id, env, flags: ['--agent-pools=build', `--agent-properties=machine=${id}`] });
  };
  await Promise.all([agent('m1', 0), agent('m2', 0), agent('m3', 1)]);
  const drover = (...args: string[]) => fleet.drover(...args, '--server', server.url);

  // Fails everywhere, twenty times: nobody's fault.
  const bad = fleet.jobFile(
    'bad',
    ...Array.from({ length: 20 }, () => ({
      steps: { fail: 'exit 1' },
      retry: { attempts: 2, on_step_failure: true, backoff: '20ms' },
    })),
  );
  expect((await jobEnded(server, await fleet.submit(server, bad))).state).toBe(JobState.FAILED);

  const retry = { attempts: 20, on_step_failure: true, backoff: '10ms' };
  const batches = (count: number) => Array.from({ length: count }, () => ({ steps: { work: 'exec tool' }, retry }));
  const good = await fleet.submit(server, fleet.jobFile('good', ...batches(16)));
  await until(async () => {
    expect(await healthOf(server, 'm3')).toMatchObject({ state: AgentHealthState.QUARANTINED, withheld: true });
  });
  const job = await jobEnded(server, good);
  expect(job.state).toBe(JobState.SUCCEEDED);
  expect(job.leases.map(({ attempts }) => attempts.at(-1)!.agentId)).not.toContain('m3');
  const { evidence, reason } = await healthOf(server, 'm3');
  expect(reason).toMatch(/^failed \d+ leases in \d+ s that succeed elsewhere .*; its canary failed: its work failed$/);
  expect(evidence.length).toBeGreaterThanOrEqual(3);
  for (const { succeededOn } of evidence) expect(['', 'm1', 'm2']).toContain(succeededOn);
  for (const id of ['m1', 'm2']) expect((await healthOf(server, id)).state).toBe(AgentHealthState.HEALTHY);

  // A lease for that machine alone waits, and `why` says what for.
  const waits = fleet.jobFile('waits', { steps: { work: 'exec tool' }, requires: { condition: 'machine == m3' } });
  const waiting = await fleet.submit(server, waits);
  const commands = [
    drover('agents', 'health'),
    drover('agents', 'health', 'm3'),
    drover('agents'),
    drover('agents', 'health', 'nobody'),
    drover('why', waiting),
  ];
  const [list, one, agents, nobody, why] = await Promise.all(commands);
  expect(list!.stdout).toMatch(/^m3 +quarantined .* failed \d+ leases/m);
  expect(one!.stdout).toMatch(
    /^m3 is quarantined since .*\n(next canary: .*\n)?LEASE .*\n.* its work failed .* (m[12]|elsewhere)$/m,
  );
  expect(agents!.stdout).toMatch(/^m3 +ok, quarantined /m);
  expect(nobody!.code).toBe(8);
  expect(why!.stdout).toMatch(/^ +m3 +is quarantined: failed \d+ leases in .*canary.* \(HEALTH_QUARANTINED\)$/m);

  // Repaired: the next canary finds out.
  tool(fleet, 'm3', 0);
  await until(async () => {
    expect(await healthOf(server, 'm3')).toMatchObject({ state: AgentHealthState.CLEARED, clearedBy: 'canary' });
  });
  const again = await jobEnded(server, waiting);
  expect(again.leases[0]!.attempts.map(({ agentId }) => agentId)).toEqual(['m3']);
  expect(again.state).toBe(JobState.SUCCEEDED);
});
