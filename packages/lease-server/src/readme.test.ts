import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const run = promisify(execFile);

/** A real agent, over the network, against the server of the sample. */
const around = (port: number): string => `
import { anyPack, StringValueSchema } from '@bufbuild/protobuf/wkt';
import { create } from '@bufbuild/protobuf';
import { createLeaseAgent } from '@drover/lease-agent';
import { defineLeaseType } from '@drover/lease-kit';
import { createLeaseClient } from '@drover/lease-transport';
import { store, server, host } from './readme.ts';
const type = defineLeaseType({ name: 'echo', payload: StringValueSchema, output: StringValueSchema });
const handler = { type, run: async (payload) => ({ kind: 'completed', output: payload }) };
const client = createLeaseClient({ baseUrl: 'http://127.0.0.1:${port}', headers: { 'x-agent': 'build-7' } });
const agent = createLeaseAgent({ stateDir: '.agent', agentId: 'build-7', leasesMax: 4 }, { client, handlers: [handler] });
await agent.start();
const draft = {
  leaseId: crypto.randomUUID(), source: 'job', name: 'hello', requirements: {}, priority: 0, runLimitMs: 60_000,
  payload: anyPack(StringValueSchema, create(StringValueSchema, { value: 'hello' })), cancelGraceMs: 1_000,
  retry: { attemptsMax: 1, after: [], onFailedWork: false, backoffMs: 0 },
};
const context = { principal: { kind: 'user', id: 'me' } };
await store.queue.enqueue([{ draft }], context);
store.signals.announce({ kind: 'work', source: 'job' });
let lease;
do {
  await new Promise((resolve) => setImmediate(resolve));
  lease = await store.jobs.lease(draft.leaseId, context);
} while (lease.state !== 'ended');
console.log(server.status().ready, lease.succeeded, lease.attempts.length);
await agent.drain();
console.log(await agent.done);
await server.stop();
await host.stop();
await client.close();
await store.close();
`;

test('the README’s sample mounts a server that a real agent works for, in under twenty lines', async () => {
  const readme = await readFile(join(import.meta.dirname, '../README.md'), 'utf8');
  const sample = /```ts\n([\s\S]*?)```/.exec(readme)![1]!;
  expect(sample.trim().split('\n').length).toBeLessThan(20);
  const port = await freePort();
  const dir = await mkdtemp(join(tmpdir(), 'drover-readme-'));
  try {
    await symlink(join(import.meta.dirname, '../../../node_modules'), join(dir, 'node_modules'));
    await writeFile(join(dir, 'package.json'), '{ "type": "module" }');
    const exported = `${sample.replace('7070', String(port))}\nexport { store, server, host };\n`;
    await writeFile(join(dir, 'readme.ts'), exported);
    await writeFile(join(dir, 'around.ts'), around(port));
    const args = ['--conditions=@drover/source', '--no-warnings', 'around.ts'];
    const { stdout } = await run(process.execPath, args, { cwd: dir });
    expect(stdout.trim().split('\n')).toEqual(['true true 1', 'drained']);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
