import { create } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { AgentTaskState, JobState } from '@drover/control-api';
import { Outcome } from '@drover/lease-protocol';
import { RestartSchema } from '@drover/lease-type-restart';
import { Client } from 'pg';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { jobEnded, jobOf, TestFleet, until, type ServerProcess } from './test-fleet.fixture.ts';
import { startMachine } from './test-machine.fixture.ts';

const agents = (fleet: TestFleet, server: ServerProcess, ...args: string[]) =>
  fleet.drover('agents', ...args, '--server', server.url);

const tasksOf = async (server: ServerProcess) => (await server.client.agentTasks.listAgentTasks({})).tasks;

/** Lines that steps have appended to a file of their own. */
const linesOf = (fleet: TestFleet, name: string): string[] => {
  try {
    return readFileSync(fleet.path(name), 'utf8').trim().split('\n');
  } catch {
    return [];
  }
};

test('a machine under a flood of jobs is drained and restarted; no job is lost or run twice', async () => {
  await using fleet = await TestFleet.create();
  const server = await fleet.server();
  const machine = await startMachine(fleet, server, { id: 'm1' });
  const before = machine.bootId();
  const file = fleet.jobFile(
    'flood',
    ...Array.from({ length: 16 }, (_, n) => ({
      steps: { work: `sleep 0.2; echo ${n} >> ${fleet.path('witness')}` },
    })),
  );
  const jobId = await fleet.submit(server, file);
  await until(() => expect(linesOf(fleet, 'witness').length).toBeGreaterThan(1));

  await server.client.agentTasks.requestAgentTasks({
    source: 'restart',
    agents: { agentIds: ['m1'] },
    payload: anyPack(RestartSchema, create(RestartSchema, { reason: 'new kernel' })),
  });
  await until(async () => expect((await tasksOf(server))[0]).toMatchObject({ state: AgentTaskState.ENDED }));
  expect((await tasksOf(server))[0]!.last).toMatchObject({ succeeded: true, outcome: Outcome.COMPLETED });
  // It did not wait for the flood to end.
  expect(linesOf(fleet, 'witness').length).toBeLessThan(16);
  expect(machine.bootId()).not.toBe(before);

  // One that is withdrawn while its agent is drained leaves the machine alone.
  const blocking = fleet.jobFile('blocking', {
    steps: { wait: `touch ${fleet.path('waits')}; ${fleet.waitFor('go')}` },
  });
  const blockingId = await fleet.submit(server, blocking);
  await fleet.made('waits');
  const wrong = await Promise.all([
    agents(fleet, server, 'restart', '--pool', 'nobody'),
    agents(fleet, server, 'restart', 'm1', '--pool', 'x'),
    agents(fleet, server, 'restart', 'm2'),
  ]);
  expect(wrong.map(({ code }) => code)).toEqual([3, 2, 8]);
  expect(wrong[2].stderr).toMatch(/There is no agent "m2"/);
  expect(await agents(fleet, server, 'restart', 'm1')).toMatchObject({ code: 0, stdout: 'm1  wanted\n' });
  await until(async () => expect((await tasksOf(server))[0]?.state).toBe(AgentTaskState.DRAINING));
  expect((await agents(fleet, server, 'tasks')).stdout).toMatch(/m1 +restart +draining +/);
  const after = machine.bootId();
  expect(await agents(fleet, server, 'restart', 'm1', '--withdraw')).toMatchObject({ stdout: 'm1  withdrawn\n' });
  fleet.open('go');
  expect((await jobEnded(server, blockingId)).state).toBe(JobState.SUCCEEDED);
  expect((await jobEnded(server, jobId)).state).toBe(JobState.SUCCEEDED);
  expect(machine.bootId()).toBe(after);
  const job = await jobOf(server, jobId);
  expect(job.leases.map(({ attempts }) => attempts.length)).toEqual(job.leases.map(() => 1));
  expect(
    linesOf(fleet, 'witness')
      .map(Number)
      .sort((a, b) => a - b),
  ).toEqual(Array.from({ length: 16 }, (_, n) => n));
});

test('a forced restart ends what runs as lost, which is tried again; a killed agent takes the restart up', async () => {
  await using fleet = await TestFleet.create();
  const server = await fleet.server();
  const forced = await startMachine(fleet, server, { id: 'forced', comesBack: 'cut', flags: ['--agent-pools=forced'] });
  const killed = await startMachine(fleet, server, { id: 'killed', flags: ['--agent-pools=killed'] });
  const file = fleet.jobFile('long', {
    requires: { pool: 'forced' },
    steps: { work: `echo run >> ${fleet.path('runs')}; ${fleet.waitFor('again')}` },
    retry: { attempts: 2, backoff: '10ms' },
  });
  const jobId = await fleet.submit(server, file);
  await fleet.made('runs');
  const before = [forced.bootId(), killed.bootId()];

  // The server cannot persist that this machine goes down: its agent is killed before the command is given.
  const database = new Client(fleet.databaseUrl);
  await database.connect();
  await database.query(`
    create function drover.hold() returns trigger language plpgsql as $$
      begin perform pg_advisory_lock(42); perform pg_advisory_unlock(42); return new; end $$;
    create trigger hold before update of going_down_at on drover.leases for each row
      when (new.going_down_at is not null and new.agent_id = 'killed') execute function drover.hold();`);
  await database.query('select pg_advisory_lock(42)');
  const takenUp = agents(fleet, server, 'restart', 'killed', '--wait');
  await killed.process.line(/"leaseType":"restart"|leaseType.*restart/);
  killed.process.signal('SIGHUP');
  await killed.process.line(/resumed.*true/);
  expect(killed.bootId()).toBe(before[1]);
  await database.query('select pg_advisory_unlock(42)');
  await database.end();

  const ended = await agents(fleet, server, 'restart', 'forced', '--forced', '--wait');
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  expect(forced.bootId()).not.toBe(before[0]);
  fleet.open('again');
  const job = await jobEnded(server, jobId);
  expect(job.state).toBe(JobState.SUCCEEDED);
  expect(job.leases[0]!.attempts.map(({ outcome }) => outcome)).toEqual([Outcome.LOST, Outcome.COMPLETED]);
  expect(await takenUp).toMatchObject({ code: 0, stdout: 'killed  done\n' });
  expect(killed.bootId()).not.toBe(before[1]);
});

test('a server that is killed while machines are away: the next one takes back who comes, and gives up who does not', async () => {
  await using fleet = await TestFleet.create();
  const flags = ['--sessions-timeout=2s', '--sessions-takeover-grace=2s'];
  const killed = await fleet.server({ flags });
  const [late, never] = await Promise.all([
    startMachine(fleet, killed, { id: 'late', comesBack: 'late' }),
    startMachine(fleet, killed, { id: 'never', comesBack: 'never' }),
  ]);
  const before = late.bootId();
  const restart = (agentId: string, seconds: bigint) =>
    killed.client.agentTasks.requestAgentTasks({
      source: 'restart',
      agents: { agentIds: [agentId] },
      payload: anyPack(RestartSchema, create(RestartSchema, { backWithin: { seconds } })),
    });
  await Promise.all([restart('late', 600n), restart('never', 4n)]);
  await Promise.all([late.down(), never.down()]);
  await killed.process.kill();

  const server = await fleet.server({ flags, port: killed.port });
  const taskOf = async (agentId: string) => (await tasksOf(server)).find((task) => task.agentId === agentId);
  await until(async () => expect(await taskOf('never')).toMatchObject({ state: AgentTaskState.ENDED }));
  expect((await taskOf('never'))!.last).toMatchObject({
    succeeded: false,
    outcome: Outcome.FAILED,
    reason: { code: 'AGENT_NEVER_RETURNED' },
  });
  expect(await taskOf('late')).toMatchObject({ state: AgentTaskState.CARRIED });
  late.power();
  await until(async () => expect(await taskOf('late')).toMatchObject({ state: AgentTaskState.ENDED }));
  expect((await taskOf('late'))!.last).toMatchObject({ succeeded: true, outcome: Outcome.COMPLETED });
  expect(late.bootId()).not.toBe(before);
});

test('what is wanted of machines ends as it came out: never back, same boot id, failed command, off, not off', async () => {
  await using fleet = await TestFleet.create();
  const server = await fleet.server({ flags: ['--sessions-timeout=2s'] });
  const crash = `echo $$ > ${fleet.path('command')}; exec sleep 600`;
  const [, , , , , crashed] = await Promise.all([
    startMachine(fleet, server, { id: 'away', comesBack: 'never' }),
    startMachine(fleet, server, { id: 'same', comesBack: 'same', downWithin: '2s' }),
    startMachine(fleet, server, { id: 'refused', restart: 'echo not allowed; exit 1' }),
    startMachine(fleet, server, { id: 'off' }),
    startMachine(fleet, server, { id: 'stays', comesBack: 'same', downWithin: '2s' }),
    startMachine(fleet, server, { id: 'crashed', restart: crash, downWithin: '4s' }),
  ]);
  const restarts = agents(
    fleet,
    server,
    ...['restart', 'away', 'same', 'refused', 'crashed', '--back-within', '2s', '--wait', '--at-most', '4'],
  );
  const shutdowns = agents(fleet, server, 'shutdown', 'off', 'stays', '--gone-after', '2s', '--wait');
  // The agent is killed while the command runs: nobody can say whether it was carried out, so that it is not given again.
  await fleet.made('command');
  crashed.process.signal('SIGHUP');
  const restarted = await restarts;
  expect(restarted.code).toBe(1);
  expect(restarted.stdout.trim().split('\n').sort()).toEqual([
    expect.stringMatching(/^away {2}failed: .*\(AGENT_NEVER_RETURNED\)$/),
    expect.stringMatching(/^crashed {2}failed: .*still runs \(RESTART_NOT_HAPPENED\)$/),
    expect.stringMatching(/^refused {2}failed: .*exit code 1: .*not allowed.*\(RESTART_COMMAND_FAILED\)$/),
    expect.stringMatching(/^same {2}failed: .*still runs \(RESTART_NOT_HAPPENED\)$/),
  ]);
  const shut = await shutdowns;
  expect(shut.code).toBe(1);
  expect(shut.stdout.trim().split('\n').sort()).toEqual([
    'off  done',
    expect.stringMatching(/^stays {2}failed: .*still runs \(SHUTDOWN_NOT_HAPPENED\)$/),
  ]);
  process.kill(Number(readFileSync(fleet.path('command'), 'utf8')), 'SIGKILL');
});
