import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { compareGenerated } from './generated-code-check.ts';
import { runCommand } from './run-command.ts';
import { workspaceRoot } from './workspace-root.ts';

const signal = new AbortController().signal;
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'drover-proto-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
});

/** A copy of the workspace's own wire with its own rules, so that a test may break it. */
async function copyWire(): Promise<string> {
  const wire = join(folder, 'wire');
  await cp(join(workspaceRoot, 'proto'), join(wire, 'proto'), { recursive: true });
  await cp(join(workspaceRoot, 'packages/standard-protocols/proto'), join(wire, 'packages/standard-protocols/proto'), {
    recursive: true,
  });
  await cp(join(workspaceRoot, 'buf.yaml'), join(wire, 'buf.yaml'));
  return wire;
}

async function edit(file: string, from: RegExp, to: string): Promise<void> {
  const text = await readFile(file, 'utf8');
  const edited = text.replace(from, to);
  expect(edited).not.toBe(text);
  await writeFile(file, edited);
}

describe('a change of the wire', () => {
  const leaseProto = 'proto/drover/lease/v1/lease.proto';

  test.each([
    ['a field that got another number', /( = )1(;)/, '$19$2'],
    ['a field that got another name', /(\s)(\w+)( = 1;)/, '$1another_$2$3'],
  ])('%s breaks it', async (_name, from, to) => {
    const wire = await copyWire();
    const image = join(folder, 'released.binpb');
    expect(await runCommand('buf', ['build', join(wire, 'proto'), '--output', image], { signal })).toMatchObject({
      status: 0,
    });
    const compare = ['breaking', join(wire, 'proto'), '--against', image];
    expect(await runCommand('buf', compare, { signal })).toEqual({ status: 0, output: '' });
    await edit(join(wire, leaseProto), from, to);
    const { status, output } = await runCommand('buf', compare, { signal });
    expect(status).toBe(100);
    expect(output).toContain('lease.proto');
  });

  test('a name against the style fails the lint', async () => {
    const wire = await copyWire();
    await edit(join(wire, leaseProto), /(\s)(\w+)( = 1;)/, '$1Not_Snake$3');
    const { status, output } = await runCommand('buf', ['lint', wire], { signal });
    expect(status).toBe(100);
    expect(output).toContain('UPPER_SNAKE_CASE');
  });
});

test('generated code that is missing, stale or changed by hand is found', async () => {
  const [fresh, committed] = [join(folder, 'fresh'), join(folder, 'committed')];
  const write = async (root: string, name: string, text: string): Promise<void> => {
    await mkdir(join(root, 'packages/a/src/gen'), { recursive: true });
    await writeFile(join(root, 'packages/a/src/gen', name), text);
  };
  for (const root of [fresh, committed]) await write(root, 'same.ts', 'same');
  expect(compareGenerated(fresh, committed)).toEqual([]);
  await write(fresh, 'new.ts', '');
  await write(committed, 'old.ts', '');
  await write(fresh, 'edited.ts', 'made');
  await write(committed, 'edited.ts', 'by hand');
  expect(compareGenerated(fresh, committed)).toEqual([
    'no longer generated: packages/a/src/gen/old.ts',
    'not committed: packages/a/src/gen/new.ts',
    'out of date: packages/a/src/gen/edited.ts',
  ]);
});

test('an abort ends a command', async () => {
  const abort = new AbortController();
  const running = runCommand('node', ['-e', 'setInterval(() => 0, 1000); process.stdout.write("up")'], {
    signal: abort.signal,
  });
  abort.abort();
  expect(await running).toMatchObject({ status: undefined });
});
