import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { greet } from './greeting-lease.fixture.ts';
import { TestFleet, until } from './test-fleet.fixture.ts';

const root = join(import.meta.dirname, '../../../..');
const samples = ['mount-server', 'mount-agent'] as const;
const fileOf = (name: string): string => join(root, 'examples', `${name}.ts`);
const sourceOf = (name: string): string => readFileSync(fileOf(name), 'utf8');

test.each(samples)('README.md holds examples/%s.ts word for word', (name) => {
  const fences = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/^```ts\n([^]*?)^```$/gm)];
  expect(fences.map(([, code]) => code)).toContain(sourceOf(name));
});

test.each(samples)('examples/%s.ts has under twenty lines beside its imports', (name) => {
  const lines = sourceOf(name)
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('import '));
  expect(lines.length).toBeLessThan(20);
});

test('both samples run: a lease reaches the handler and its output is persisted', async () => {
  await using fleet = await TestFleet.create();
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const env = { DATABASE_URL: fleet.databaseUrl, PORT: String(port) };
  const server = fleet.start([], { entry: fileOf('mount-server'), env });
  await until(async () => expect((await fetch(`${url}/readyz`)).status).toBe(200));
  const agentEnv = { DROVER_SERVER: url, STATE_DIR: fleet.path('machine-1') };
  const agent = fleet.start([], { entry: fileOf('mount-agent'), env: agentEnv });
  const { lease, greeting } = await greet(fleet.databaseUrl, 'Grace');
  expect(greeting).toBe('hello, Grace');
  expect(lease).toMatchObject({ state: 'ended', attempts: [{ attempt: 1, agentId: 'machine-1' }] });
  // They do not listen to signals: that is up to the process that they are mounted in.
  await agent.kill();
  await server.kill();
  expect([agent.stderr, server.stderr]).toEqual(['', '']);
});

/** A port that nobody listened on a moment ago. */
async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
