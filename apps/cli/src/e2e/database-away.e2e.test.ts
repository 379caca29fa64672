import { JobState } from '@drover/control-api';
import { Outcome } from '@drover/lease-protocol';
import { startEmbeddedPostgres } from '@drover/postgres-embedded';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { TestFleet, jobEnded, logOf, until } from './test-fleet.fixture.ts';

const awayMs = 10_000;

test('a database that goes away for ten seconds costs nothing', async () => {
  await using fleet = await TestFleet.create();
  const dataDir = fleet.path('postgres');
  const away = await startEmbeddedPostgres({ dataDir });
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => away.stop());
  const server = await fleet.server({ databaseUrl: away.url });
  await fleet.agent(server);
  const readiness = async () => (await fetch(`${server.url}/readyz`)).status;
  await until(async () => expect(await readiness()).toBe(200));

  const file = fleet.jobFile('lasting', {
    steps: { s: `echo started >> ${fleet.path('starts')}; ${fleet.waitFor('gone')}; echo finished` },
  });
  const running = fleet.start(['job', 'run', file, '--server', server.url]);
  const shortJobId = (await running.line(/submitted/)).split(' ')[1]!;
  await fleet.made('starts');
  await away.stop();
  const goneMs = performance.now();

  // The step ends while nobody can write that down.
  fleet.open('gone');
  const refused = await fleet.drover('job', 'submit', file, '--server', server.url);
  expect(refused).toMatchObject({ code: 4, stdout: '', stderr: expect.stringContaining('(STORE_UNAVAILABLE)') });
  expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
  await until(async () => {
    expect(await readiness()).toBe(503);
    expect(performance.now() - goneMs).toBeGreaterThan(awayMs);
  });

  // Strangers learn no more than that.
  expect(await (await fetch(`${server.url}/readyz`)).json()).toEqual({ ready: false, reason: 'The database is away.' });

  const back = await startEmbeddedPostgres({ dataDir, port: away.port });
  cleanup.defer(() => back.stop());
  expect(back.url).toBe(away.url);
  await until(async () => expect(await readiness()).toBe(200));
  const { jobs } = await server.client.jobs.listJobs({});
  expect(jobs.map(({ jobId }) => jobId.slice(0, 8))).toEqual([shortJobId]);
  const job = await jobEnded(server, jobs[0]!.jobId);
  expect(job).toMatchObject({ state: JobState.SUCCEEDED });
  expect(job.leases[0]!.attempts).toMatchObject([{ attempt: 1, outcome: Outcome.COMPLETED }]);
  expect(readFileSync(fleet.path('starts'), 'utf8')).toBe('started\n');
  expect(await logOf(server, job.jobId, 's')).toBe('finished\n');
  const followed = await running.exited;
  expect(followed, followed.stderr).toMatchObject({ code: 0 });
  expect(followed.stdout).toMatch(/lasting succeeded after/);
  const next = await fleet.drover(
    'job',
    'run',
    fleet.jobFile('next', { steps: { s: 'true' } }),
    '--server',
    server.url,
  );
  expect(next, next.stderr).toMatchObject({ code: 0 });
});
