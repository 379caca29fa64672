import { join } from 'node:path';
import { expect, test } from 'vitest';
import { greet } from './greeting-lease.fixture.ts';
import { TestFleet } from './test-fleet.fixture.ts';

const file = (name: string): string => join(import.meta.dirname, `${name}.test.child.ts`);

test('a source and a handler, each registered once in a composition root, are all that a lease type needs', async () => {
  await using fleet = await TestFleet.create();
  const server = await fleet.server({ entry: file('greeting-server') });
  await fleet.agent(server, { entry: file('greeting-agent') });
  const { lease, greeting } = await greet(fleet.databaseUrl, 'Ada');
  expect(greeting).toBe('hello, Ada');
  expect(lease).toMatchObject({ succeeded: true, attempts: [{ attempt: 1, agentId: 'agent-1' }] });
  // What was there before still is.
  const ran = await fleet.drover(
    ...['job', 'run', '--server', server.url],
    fleet.jobFile('beside', { steps: { s: 'echo beside' } }),
  );
  expect(ran, ran.stderr).toMatchObject({ code: 0 });
});
