import { AgentState, JobState } from '@drover/control-api';
import { AgentCondition, Outcome } from '@drover/lease-protocol';
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestFleet, jobEnded, jobOf, until, type ServerProcess } from './test-fleet.fixture.ts';

let fleet: TestFleet;
let a: ServerProcess;
let b: ServerProcess;

beforeAll(async () => {
  fleet = await TestFleet.create();
  const flags = ['--content-dir', fleet.path('content')];
  [a, b] = await Promise.all([fleet.server({ flags }), fleet.server({ flags })]);
});
afterAll(() => fleet?.dispose());

async function drover(server: ServerProcess, ...args: readonly string[]) {
  const ended = await fleet.drover(...args, '--server', server.url);
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  return ended;
}

async function standing(agentId: string) {
  const { agent } = await b.client.agents.getAgent({ agentId });
  return agent!.standing!;
}

test('an agent of one server follows what is said on another: disabled, busy, in downtime, in a pool', async () => {
  await fleet.agent(a);

  // Disabled at B, it gets nothing from A, where it is connected, not even what is submitted right behind.
  await drover(b, 'agents', 'disable', 'agent-1', '--comment', 'smells of smoke');
  const job = fleet.jobFile('job', { steps: { s: `touch ${fleet.path('ran')}` } });
  const first = await fleet.submit(a, job);
  const why = await drover(b, 'why', first);
  expect(why.stdout).toMatch(/agent-1\s+is disabled by user:local since .*: smells of smoke \(DISABLED\)/);
  expect((await drover(b, 'agents')).stdout).toMatch(/agent-1\s+ok, disabled .* smells of smoke/);
  expect([(await jobOf(a, first)).state, existsSync(fleet.path('ran'))]).toEqual([JobState.WAITING, false]);
  await drover(b, 'agents', 'enable', 'agent-1');
  const audit = await drover(a, 'audit', '--what', 'agent', '--json');
  const { entries } = JSON.parse(audit.stdout) as { entries: { action: string; subject: string }[] };
  expect(entries.map(({ action, subject }) => [action, subject])).toEqual([
    ['agent.enable', 'agent:agent-1'],
    ['agent.disable', 'agent:agent-1'],
  ]);
  expect((await jobEnded(a, first)).state).toBe(JobState.SUCCEEDED);

  // A downtime of a pool that a condition makes, added at B.
  await drover(b, 'pools', 'create', 'machines', '--condition', 'cores_tested || os ~= ".*"');
  expect((await drover(a, 'pools', 'show', 'machines')).stdout).toMatch(/agents now\s+1: agent-1/);
  const downtime = ['--pool', 'MACHINES', '--start', new Date().toISOString(), '--for', '1h', '--comment', 'patches'];
  const added = await drover(b, 'agents', 'downtime', 'add', ...downtime);
  const id = /downtime (\S+) added/.exec(added.stdout)![1]!;
  const second = await fleet.submit(
    a,
    fleet.jobFile('pooled', { requires: { pool: 'machines' }, steps: { s: 'true' } }),
  );
  expect((await drover(a, 'why', second)).stdout).toMatch(/in scheduled downtime until .*: patches \(IN_DOWNTIME\)/);
  expect((await drover(a, 'pools', 'hints', 'machines')).stdout).toMatch(/machines\s+1 .* 0\s+0\s+0\s+cores 4/);
  const refused = await fleet.drover('pools', 'delete', 'machines', '--server', a.url);
  expect(refused.stderr).toContain('1 lease waits for pool "machines"');
  await drover(b, 'agents', 'downtime', 'remove', id);
  expect((await jobEnded(a, second)).state).toBe(JobState.SUCCEEDED);

  // Busy by command at B: what runs is stopped, and tried again when the machine is free.
  const long = fleet.jobFile('long', { steps: { s: `echo >> ${fleet.path('begun')}; ${fleet.waitFor('end')}` } });
  const third = await fleet.submit(a, long);
  await fleet.made('begun');
  await drover(b, 'agents', 'busy', 'agent-1', '--for', '1h', '--comment', 'demo');
  await until(async () => {
    const { leases } = await jobOf(a, third);
    expect(leases[0]!.attempts[0]).toMatchObject({ outcome: Outcome.FAILED });
  });
  await until(async () => {
    const { agent } = await b.client.agents.getAgent({ agentId: 'agent-1' });
    expect(agent!.condition).toBe(AgentCondition.BUSY);
  });
  expect(await standing('agent-1')).toMatchObject({ state: AgentState.BUSY, busy: { comment: 'demo' } });
  fleet.open('end');
  await drover(b, 'agents', 'busy', 'agent-1', '--off');
  const ended = await jobEnded(a, third);
  expect([ended.state, ended.leases[0]!.attempts.length]).toEqual([JobState.SUCCEEDED, 2]);
});

test('an ephemeral agent takes one lease, leaves with 0 and is forgotten', async () => {
  const ephemeral = ['--agent-ephemeral', '--agent-pools', 'once'];
  const { process } = await fleet.agent(b, { id: 'agent-once', flags: ephemeral });
  const batch = { requires: { pool: 'once' }, steps: { s: 'true' } };
  const jobId = await fleet.submit(a, fleet.jobFile('two', batch, batch));
  expect(await process.exited).toMatchObject({ code: 0 });
  await until(async () => {
    const { leases } = await jobOf(a, jobId);
    expect(leases.map(({ attempts }) => attempts.length).toSorted()).toEqual([0, 1]);
  });
  await until(async () => {
    const { agents } = await a.client.fleet.listAgents({});
    expect(agents.map(({ agentId }) => agentId)).not.toContain('agent-once');
  });
});
