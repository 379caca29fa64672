import { Outcome } from '@drover/lease-protocol';
import { JobState } from '@drover/control-api';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { TestFleet, jobEnded, logOf, until } from './test-fleet.fixture.ts';

test('several servers share one Postgres: work, cancellation and a running attempt go where they must', async () => {
  await using fleet = await TestFleet.create();
  const flags = ['--content-dir', fleet.path('content')];
  const [a, b] = await Promise.all([fleet.server({ flags }), fleet.server({ flags })]);
  await fleet.agent([a, b]);

  // Submitted at B, the job reaches the agent, which hangs on A.
  const submitted = await fleet.drover(
    'job',
    'run',
    fleet.jobFile('far', { steps: { s: 'echo far' } }),
    '--server',
    b.url,
  );
  expect(submitted, submitted.stderr).toMatchObject({ code: 0 });

  // Cancelled at B, it stops there.
  const endless = fleet.jobFile('endless', {
    steps: { s: `touch ${fleet.path('endless')}; ${fleet.waitFor('never')}` },
  });
  const endlessId = await fleet.submit(b, endless);
  await fleet.made('endless');
  expect(await fleet.drover('job', 'cancel', endlessId, '--server', b.url)).toMatchObject({ code: 0 });
  expect((await jobEnded(b, endlessId)).state).toBe(JobState.CANCELLED);

  // A dies while a job runs: the agent goes to B with it, and it is not started again.
  const lasting = fleet.jobFile('lasting', {
    steps: { s: `echo started >> ${fleet.path('starts')}; ${fleet.waitFor('finish')}; echo finished`, t: 'echo next' },
  });
  const jobId = await fleet.submit(a, lasting);
  await fleet.made('starts');
  await a.process.kill();
  await until(async () => {
    const { agents } = await b.client.fleet.listAgents({});
    expect(agents).toMatchObject([{ agentId: 'agent-1', online: true, leases: 1 }]);
  });
  fleet.open('finish');
  const job = await jobEnded(b, jobId);
  expect(job.state).toBe(JobState.SUCCEEDED);
  expect(job.leases[0]!.attempts).toMatchObject([{ attempt: 1, agentId: 'agent-1', outcome: Outcome.COMPLETED }]);
  expect(readFileSync(fleet.path('starts'), 'utf8')).toBe('started\n');
  expect(await logOf(b, jobId, 's')).toBe('finished\n');
  expect(await logOf(b, jobId, 't')).toBe('next\n');
});
