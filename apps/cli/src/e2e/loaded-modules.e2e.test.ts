import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { TestFleet } from './test-fleet.fixture.ts';

const nodeFlags = ['--import', join(import.meta.dirname, 'list-modules.test.child.ts')];

test('a running server holds no handlers, and a running agent no sources and no database', async () => {
  await using fleet = await TestFleet.create();
  const listing = (name: string) => ({ nodeFlags, env: { LOADED_MODULES_FILE: fleet.path(name) } });
  const server = await fleet.server(listing('server-modules'));
  await fleet.agent(server, listing('agent-modules'));
  const ran = await fleet.drover(
    ...['job', 'run', '--server', server.url],
    fleet.jobFile('small', { steps: { s: 'true' } }),
  );
  expect(ran, ran.stderr).toMatchObject({ code: 0 });

  const loaded = (name: string, pattern: RegExp): string[] =>
    readFileSync(fleet.path(name), 'utf8')
      .split('\n')
      .filter((url) => pattern.test(url));
  const taskSources = /\/lease-type-[^/]+\/src\/task-source\//;
  const leaseHandlers = /\/lease-type-[^/]+\/src\/lease-handler\//;
  expect(loaded('server-modules', taskSources)).not.toEqual([]);
  expect(loaded('server-modules', leaseHandlers)).toEqual([]);
  expect(loaded('server-modules', /\/packages\/(lease-agent|lease-handlers|process-runner)\//)).toEqual([]);
  expect(loaded('agent-modules', leaseHandlers)).not.toEqual([]);
  expect(loaded('agent-modules', taskSources)).toEqual([]);
  expect(loaded('agent-modules', /\/packages\/(lease-server|lease-store|lease-store-postgres|task-sources)\//)).toEqual(
    [],
  );
  expect(loaded('agent-modules', /\/node_modules\/(pg|kysely)\//)).toEqual([]);
});
