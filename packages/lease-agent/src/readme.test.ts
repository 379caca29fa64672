import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const run = promisify(execFile);

const handler = `
import { StringValueSchema } from '@bufbuild/protobuf/wkt';
import { defineLeaseType } from '@drover/lease-kit';
export const echoHandler = {
  type: defineLeaseType({ name: 'echo', payload: StringValueSchema, output: StringValueSchema }),
  run: (payload) => Promise.resolve({ kind: 'completed', output: payload }),
};
`;

/** The server that the sample connects to, in the same process: the sample's own is one line away. */
const around = `
import { create } from '@bufbuild/protobuf';
import { anyUnpack, StringValueSchema } from '@bufbuild/protobuf/wkt';
import { MemoryLeaseServer } from '@drover/lease-agent/testing';
import { startLoopbackServer } from '@drover/lease-transport/testing';
import { writeFileSync, readFileSync } from 'node:fs';
const server = new MemoryLeaseServer();
const attempt = server.offer(StringValueSchema, create(StringValueSchema, { value: 'from the readme' }));
const loopback = await startLoopbackServer(server);
writeFileSync('sample.ts', readFileSync('readme.ts', 'utf8').replace('7070', String(loopback.port)));
const sample = import('./sample.ts');
const { report } = await server.ended(attempt);
console.log(anyUnpack(report.result.value, StringValueSchema).value);
process.kill(process.pid, 'SIGTERM');
await sample;
server.close();
await loopback[Symbol.asyncDispose]();
`;

test('the README’s sample mounts an agent that works and drains, in under twenty lines', async () => {
  const readme = await readFile(join(import.meta.dirname, '../README.md'), 'utf8');
  const sample = /```ts\n([\s\S]*?)```/.exec(readme)![1]!;
  expect(sample.trim().split('\n').length).toBeLessThan(20);
  const dir = await mkdtemp(join(tmpdir(), 'drover-readme-'));
  try {
    await symlink(join(import.meta.dirname, '../../../node_modules'), join(dir, 'node_modules'));
    await writeFile(join(dir, 'package.json'), '{ "type": "module" }');
    await writeFile(join(dir, 'readme.ts'), sample);
    await writeFile(join(dir, 'echo-handler.ts'), handler);
    await writeFile(join(dir, 'around.ts'), around);
    const args = ['--conditions=@drover/source', '--no-warnings', 'around.ts'];
    const { stdout } = await run(process.execPath, args, { cwd: dir });
    expect(stdout.trim().split('\n')).toEqual(['from the readme', 'drained']);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
