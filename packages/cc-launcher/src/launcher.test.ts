import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CompileDaemon, type LauncherReply, type LauncherRequest } from '@drover/compile-service/client';
import { silentLogger, systemClock } from '@drover/lease-kit';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'launcher-'));
  mkdirSync(join(folder, 'bin'));
  const build = join(import.meta.dirname, '..', 'native', 'build.mjs');
  const out = join(folder, 'bin', 'drover-cc');
  const built = spawnSync(process.execPath, [build, '--compiler', 'gcc', '--out', out]);
  expect(built.stderr.toString()).toBe('');
  symlinkSync('drover-cc', join(folder, 'bin', 'gcc'));
  writeFileSync(join(folder, 'a.c'), 'int f(void) { return 1; }\n');
  writeFileSync(join(folder, 'fails.c'), 'nonsense\n');
});
afterAll(() => rmSync(folder, { recursive: true }));

async function run(run: string, program: string, ...words: string[]) {
  const child = spawn(join(folder, 'bin', program), words, {
    cwd: folder,
    env: {
      PATH: `${join(folder, 'bin')}:/usr/bin:/bin`,
      DROVER_CC_FOLDER: join(folder, run),
      DROVER_PROGRAM: '/bin/true',
    },
  });
  const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'close') as Promise<[number]>]);
  return { code, stderr };
}

async function createDaemon(name: string, reply: LauncherReply) {
  const requests: LauncherRequest[] = [];
  const handle = (request: LauncherRequest): Promise<LauncherReply> => {
    requests.push(request);
    return Promise.resolve(reply);
  };
  const deps = { client: { handle }, clock: systemClock, logger: silentLogger };
  const daemon = new CompileDaemon({ folder: join(folder, name) }, deps);
  await daemon.start();
  return { requests, [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose]() };
}

describe.skipIf(!existsSync('/usr/bin/gcc'))('the launcher [limits:compilers]', () => {
  test('without a daemon the true compiler runs, and ends as it ends', async () => {
    expect(await run('none', 'gcc', '-c', 'a.c', '-o', 'alone.o')).toEqual({ code: 0, stderr: '' });
    expect(existsSync(join(folder, 'alone.o'))).toBe(true);
    const failed = await run('none', 'drover-cc', 'gcc', '-c', 'fails.c');
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain('fails.c:1:1: error');
    expect(await run('none', 'drover-cc', 'no-such-compiler')).toMatchObject({ code: 127 });
  });

  test('a compile that the daemon has done is done', async () => {
    await using daemon = await createDaemon('done', { kind: 'done' });
    expect(await run('done', 'gcc', '-c', 'a.c', '-o', 'done.o')).toEqual({ code: 0, stderr: '' });
    expect(existsSync(join(folder, 'done.o'))).toBe(false);
    expect(daemon.requests).toMatchObject([
      { compiler: '/usr/bin/gcc', workingFolder: folder, arguments: ['-c', 'a.c', '-o', 'done.o'] },
    ]);
  });

  test('a warning is shown, and the compiler runs', async () => {
    await using _daemon = await createDaemon('warns', { kind: 'local', warning: 'drover: why' });
    expect(await run('warns', 'gcc', '-c', 'a.c', '-o', 'warns.o')).toEqual({ code: 0, stderr: 'drover: why\n' });
    expect(existsSync(join(folder, 'warns.o'))).toBe(true);
  });

  test('nobody is asked of what links, nor while there is no worker', async () => {
    await using daemon = await createDaemon('off', { kind: 'done' });
    expect(await run('off', 'gcc', '-shared', 'a.c', '-o', 'a.so')).toMatchObject({ code: 0 });
    writeFileSync(join(folder, 'off', 'off-until'), String(Math.ceil(systemClock.wallMs() / 1_000) + 1_000));
    expect(await run('off', 'gcc', '-c', 'a.c', '-o', 'off.o')).toMatchObject({ code: 0 });
    expect(existsSync(join(folder, 'off.o'))).toBe(true);
    expect(daemon.requests).toEqual([]);
  });
});
