import { JobState } from '@drover/control-api';
import { Outcome } from '@drover/lease-protocol';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { isRunning } from './running-processes.fixture.ts';
import { TestFleet, jobEnded, logOf, until } from './test-fleet.fixture.ts';

test('an agent that is killed in the middle of a step loses no line of its log and leaves no process', async () => {
  await using fleet = await TestFleet.create();
  const server = await fleet.server();
  const killed = await fleet.agent(server);
  // The first attempt counts until it is ended, to its log and then to a file of its own; the second one succeeds.
  const count = [
    `if [ -e ${fleet.path('pids')} ]; then echo again; exit 0; fi`,
    `sleep 600 & echo $$ $! > ${fleet.path('pids')}`,
    'i=0',
    `while [ -d ${fleet.dir} ]; do i=$((i+1)); echo line $i; echo line $i >> ${fleet.path('written')}; sleep 0.005; done`,
  ];
  const file = fleet.jobFile('counting', {
    steps: { count: count.join('\n') },
    retry: { attempts: 2, backoff: '10ms' },
  });
  const jobId = await fleet.submit(server, file);
  const written = (): string => readFileSync(fleet.path('written'), 'utf8');
  await until(() => expect(written()).toContain('line 30\n'));
  await killed.process.kill();
  const [shell = 0, child = 0] = readFileSync(fleet.path('pids'), 'utf8').trim().split(' ').map(Number);
  expect([isRunning(shell), isRunning(child)]).toEqual([true, true]);
  // It goes on unseen: these lines too must come.
  const before = written().split('\n').length;
  await until(() => expect(written().split('\n').length).toBeGreaterThan(before + 20));

  await fleet.agent(server);
  const job = await jobEnded(server, jobId);
  expect(job.state).toBe(JobState.SUCCEEDED);
  expect(job.leases[0]!.attempts).toMatchObject([
    { attempt: 1, outcome: Outcome.LOST, reason: { code: 'AGENT_CRASHED' } },
    { attempt: 2, outcome: Outcome.COMPLETED },
  ]);
  expect([isRunning(shell), isRunning(child)]).toEqual([false, false]);
  const log = await logOf(server, jobId, 'count', 1);
  expect(log.startsWith(written())).toBe(true);
  // It may have been ended between its two writes.
  expect(log.length - written().length).toBeLessThan(20);
  expect(await logOf(server, jobId, 'count', 2)).toBe('again\n');
});

test('a server that is killed and started again in the middle of a job loses nothing', async () => {
  await using fleet = await TestFleet.create();
  const stateDir = fleet.path('server');
  const killed = await fleet.server({ stateDir });
  const agent = await fleet.agent(killed);
  const steps = {
    first: `echo started >> ${fleet.path('starts')}; echo early; ${fleet.waitFor('gone')}; echo late`,
    second: `echo result > result.txt; ${fleet.waitFor('back')}`,
  };
  const jobId = await fleet.submit(killed, fleet.jobFile('lasting', { steps, outputs: ['result.txt'] }));
  await fleet.made('starts');
  const { epoch } = (await killed.client.fleet.listAgents({})).agents[0]!;
  await killed.process.kill();
  // The job goes on meanwhile.
  fleet.open('gone');

  const server = await fleet.server({ stateDir, port: killed.port });
  await agent.process.line(/a session is open/, 2);
  fleet.open('back');
  const job = await jobEnded(server, jobId);
  expect(job.state).toBe(JobState.SUCCEEDED);
  expect(job.leases[0]!.attempts).toMatchObject([{ attempt: 1, outcome: Outcome.COMPLETED }]);
  expect((await server.client.fleet.listAgents({})).agents).toMatchObject([{ online: true, epoch: epoch + 1n }]);
  expect(readFileSync(fleet.path('starts'), 'utf8')).toBe('started\n');
  expect(await logOf(server, jobId, 'first')).toBe('early\nlate\n');
  const fetched = await fleet.drover('job', 'outputs', jobId, '-o', fleet.path('out'), '--server', server.url);
  expect(fetched, fetched.stderr).toMatchObject({ code: 0 });
  expect(readFileSync(fleet.path('out/batch-1/result.txt'), 'utf8')).toBe('result\n');
});
