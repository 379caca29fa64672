import { ManualClock } from '@drover/lease-kit/testing';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PacedItems, type PacedItem } from './paced-items.ts';
import { createProgressPipes, type ProgressPipe } from './progress-pipes.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pipes-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A shell with the pipe's path as `$0`. */
const shell = (script: string, pipe: ProgressPipe): ChildProcess =>
  spawn('sh', ['-c', script, pipe.path], { stdio: 'ignore' });

describe.each(['fifo', 'socket'] as const)('a %s', (kind) => {
  const client = 'require("net").connect(process.argv[1], function () { process.stdin.pipe(this) })';
  const connect = kind === 'fifo' ? 'cat > "$0"' : `${process.execPath} -e '${client}' "$0"`;

  test('gives what a process writes, to its last byte, and is taken away', async () => {
    const items: PacedItem[] = [];
    const pipe = await createProgressPipes().open({ folder, name: 'unit-a', kind }, (item) => items.push(item));
    const child = shell(
      `printf 'x<Progress>1</Progress><Message>last' | ${connect}; printf '</Message>' | ${connect}`,
      pipe,
    );
    await once(child, 'exit');
    await pipe.end();
    expect(items).toContainEqual({ kind: 'progress', percent: 1 });
    if (kind === 'fifo') expect(items).toContainEqual({ kind: 'message', text: 'last' });
    expect(readdirSync(folder)).toEqual([]);
  });

  test('waits for nobody: a process that never connects, or goes early, ends as any other', async () => {
    const pipe = await createProgressPipes().open({ folder, name: 'p', kind }, () => undefined);
    await once(shell('exit 0', pipe), 'exit');
    await pipe.end();
    await pipe.end();
    expect(existsSync(pipe.path)).toBe(false);
  });
});

test('a flood is read no faster than its bound, its items are counted, and it hurts nobody', async () => {
  const items: PacedItem[] = [];
  const pipes = createProgressPipes({ itemsPerSecondMax: 10, burstMax: 5, bytesPerSecondMax: 1_000_000 });
  const enough = Promise.withResolvers<void>();
  const pipe = await pipes.open({ folder, name: 'p' }, (item) => {
    if (items.push(item) === 8) enough.resolve();
  });
  const child = shell('exec yes "<Message>m</Message><Progress>3</Progress>" > "$0"', pipe);
  await enough.promise;
  child.kill('SIGKILL');
  await once(child, 'exit');
  await pipe.end();
  const dropped = items.reduce((sum, item) => sum + (item.kind === 'dropped' ? item.count : 0), 0);
  expect(dropped).toBeGreaterThan(100);
  expect(items.length).toBeLessThan(60);
  expect(items.at(-2)).toEqual({ kind: 'progress', percent: 3 });
});

test('what was left out is said later, the last progress with it', () => {
  const clock = new ManualClock();
  const items: PacedItem[] = [];
  const paced = new PacedItems({ itemsPerSecondMax: 1, burstMax: 2 }, clock, (item) => items.push(item));
  for (const percent of [1, 2, 3, 4]) paced.push({ kind: 'progress', percent });
  paced.push({ kind: 'message', text: 'm' });
  expect(items).toHaveLength(2);
  clock.advance(1_000);
  expect(items.slice(2)).toEqual([
    { kind: 'progress', percent: 4 },
    { kind: 'dropped', count: 2 },
  ]);
  paced.end();
  expect(clock.pendingCalls).toBe(0);
});

test('names are no paths, nothing is overwritten, and what an earlier run left is not in the way', async () => {
  const pipes = createProgressPipes({ pipesMax: 2 });
  const ignore = (): void => undefined;
  for (const name of ['', '.', '..', 'a/b', 'a\\b', 'a\0', 'x'.repeat(129)]) {
    await expect(pipes.open({ folder, name }, ignore)).rejects.toMatchObject({ code: 'PIPE_NAME_INVALID' });
  }
  await expect(pipes.open({ folder, name: 'x'.repeat(108), kind: 'socket' }, ignore)).rejects.toMatchObject({
    code: 'PIPE_PATH_TOO_LONG',
  });
  writeFileSync(join(folder, 'file'), 'kept');
  await expect(pipes.open({ folder, name: 'file' }, ignore)).rejects.toMatchObject({ code: 'PIPE_FAILED' });
  await new Promise<void>((resolve, reject) =>
    execFile('mkfifo', [join(folder, 'stale')], (error) => (error ? reject(error) : resolve())),
  );
  const first = await pipes.open({ folder, name: 'stale' }, ignore);
  await expect(pipes.open({ folder, name: 'stale' }, ignore)).rejects.toMatchObject({ code: 'PIPE_IN_USE' });
  const second = await pipes.open({ folder, name: 'other' }, ignore);
  await expect(pipes.open({ folder, name: 'third' }, ignore)).rejects.toMatchObject({ code: 'PIPES_TOO_MANY' });
  await Promise.all([first.end(), second.end()]);
  expect(readdirSync(folder)).toEqual(['file']);
});
