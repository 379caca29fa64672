import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { childrenOf, isRunning } from './running-processes.fixture.ts';
import { TestFleet, logOf, until, type ServerProcess } from './test-fleet.fixture.ts';

test('what ran on the embedded Postgres is still there after a restart, after a kill too', async () => {
  await using fleet = await TestFleet.create();
  const state = fleet.path('state');
  const up = () => fleet.start(['up', '--state', state, '--port', '0']);
  const urlOf = async (process: ReturnType<typeof up>): Promise<string> => {
    await process.line(/^up after/);
    return (await process.line(/^server /)).split(/\s+/)[1]!;
  };

  const first = up();
  const url = await urlOf(first);
  const ran = await fleet.drover(
    ...['job', 'run', '--server', url],
    fleet.jobFile('kept', { steps: { s: 'echo kept > kept.txt; echo written' }, outputs: ['kept.txt'] }),
  );
  expect(ran, ran.stderr).toMatchObject({ code: 0 });
  first.signal('SIGTERM');
  const ended = await first.exited;
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  expect(ended.stdout).toMatch(/^stopping …$/m);

  const second = up();
  const again = await urlOf(second);
  const listed = await fleet.drover('job', 'list', '--server', again);
  expect(listed.stdout).toMatch(/ kept +succeeded /);
  const id = / ([0-9a-f]{8}) kept succeeded/.exec(ran.stdout)![1]!;
  const fetched = await fleet.drover('job', 'outputs', id, '-o', fleet.path('out'), '--server', again);
  expect(fetched, fetched.stderr).toMatchObject({ code: 0 });
  expect(readFileSync(fleet.path('out/batch-1/kept.txt'), 'utf8')).toBe('kept\n');
  // Its children end with it, at once.
  const children = childrenOf(second.pid);
  expect(children).toHaveLength(2);
  await second.kill();
  await until(() => expect(children.filter(isRunning)).toEqual([]));

  const server: ServerProcess = await fleet.server({ databaseUrl: null, stateDir: `${state}/server` });
  const { jobs } = await server.client.jobs.listJobs({});
  expect(jobs).toMatchObject([{ name: 'kept' }]);
  expect(await logOf(server, jobs[0]!.jobId, 's')).toBe('written\n');
});
