import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { takeSupervisorLock } from './supervisor-lock.ts';

const child = join(import.meta.dirname, 'supervisor-lock.test.child.ts');

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drover-supervisor-lock-'));
  path = join(folder, 'lock');
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Processes that take locks; disposing kills them. */
async function contenders(count: number) {
  const execArgv = ['--conditions=@drover/source', '--disable-warning=ExperimentalWarning'];
  const processes = Array.from({ length: count }, () => fork(child, { execArgv }));
  await Promise.all(processes.map((one) => once(one, 'message')));
  return {
    /** What each came to, all at once. */
    take: (at: string, of: readonly ChildProcess[] = processes) => {
      const atMs = Date.now() + 10;
      const answers = of.map(async (one) => ((await once(one, 'message')) as [string])[0]);
      for (const one of of) one.send({ path: at, atMs });
      return Promise.all(answers);
    },
    processes,
    [Symbol.asyncDispose]: async () => {
      const living = processes.filter(({ signalCode }) => signalCode === null);
      const ended = living.map((one) => once(one, 'exit'));
      for (const one of living) one.kill('SIGKILL');
      await Promise.all(ended);
    },
  };
}

test('one of those that find a dead holder takes the lock, whatever their number', { timeout: 60_000 }, async () => {
  const dead = await contenders(1);
  await dead.take(path);
  await dead[Symbol.asyncDispose]();
  const left = readFileSync(path);
  await using six = await contenders(6);
  for (let round = 0; round < 60; round += 1) {
    const at = join(folder, `round-${round}`);
    writeFileSync(at, left);
    const answers = await six.take(at);
    expect(answers.sort(), `round ${round}`).toEqual([...Array<string>(5).fill('SUPERVISOR_RUNS'), 'took']);
    expect(readdirSync(folder).filter((name) => name.startsWith(`round-${round}.`))).toEqual([]);
  }
});

test('a holder that is killed loses it to the next, again and again', async () => {
  await using all = await contenders(3);
  for (const one of all.processes) {
    expect(await all.take(path, [one])).toEqual(['took']);
    expect(() => takeSupervisorLock(path)).toThrow(`process ${one.pid} supervises this folder already`);
    one.kill('SIGKILL');
    await once(one, 'exit');
  }
  const release = takeSupervisorLock(path);
  release();
  release();
  expect(readdirSync(folder)).toEqual([]);
});

test('a lock that a power failure cut off is nobody’s', () => {
  writeFileSync(path, '{"pid":');
  takeSupervisorLock(path);
  expect(() => takeSupervisorLock(path)).toThrow(`process ${process.pid} supervises`);
  // The heir of a holder that is gone was cut off too.
  writeFileSync(path, JSON.stringify({ pid: 1, startTime: '', bootId: '', nonce: 'a'.repeat(36) }));
  writeFileSync(`${path}.after.${'a'.repeat(36)}`, '');
  takeSupervisorLock(path)();
  expect(readdirSync(folder)).toEqual([]);
});
