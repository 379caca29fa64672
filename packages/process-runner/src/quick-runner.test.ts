import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createQuickRunner, type QuickRunner } from './quick-runner.ts';
import type { QuickRequest, QuickResult } from './quick-run.ts';
import { findSpawnHelperInterpreter } from './spawn-helper.ts';
import { readMarkers } from './process-marker.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'quick-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

let next = 0;
const request = (script: string, rest: Partial<QuickRequest> = {}): QuickRequest => ({
  key: `herd/job/${next++}`,
  exe: 'sh',
  args: ['-c', script],
  env: { PATH: process.env['PATH'] ?? '' },
  cwd: dir,
  outputDir: join(dir, 'output'),
  cancelGraceMs: 0,
  ...rest,
});
const text = ({ outputTail }: QuickResult): string => Buffer.from(outputTail).toString();
const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}/exe`);

/** The file that a script writes its pid to, once it is there. */
async function pidIn(path: string): Promise<number> {
  for (;;) {
    const found = existsSync(path) ? Number(readFileSync(path, 'utf8')) : 0;
    if (found > 0) return found;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const spawners = findSpawnHelperInterpreter() === undefined ? (['direct'] as const) : (['helper', 'direct'] as const);

describe.each(spawners)('with the %s spawner', (spawner) => {
  const open = (): QuickRunner => createQuickRunner({ stateDir: join(dir, 'state'), spawner });

  test('ends are told apart: codes, signals, limits, and what could not start', async () => {
    await using runner = open();
    const run = (one: QuickRequest): Promise<QuickResult> => runner.start(one).result;
    writeFileSync(join(dir, 'plain'), 'x', { mode: 0o644 });
    const [ok, code, signal, late, missing, plain, folder] = await Promise.all([
      run(
        request('echo out; echo err >&2; printf "%s" "$A|$DROVER_PROCESS_KEY"', {
          env: { PATH: '/usr/bin:/bin', A: 'ä\n=' },
        }),
      ),
      run(request('exit 137')),
      run(request('kill -KILL $$')),
      run(request('trap "" TERM; exec sleep 60', { timeoutMs: 60, cancelGraceMs: 40 })),
      run(request('', { exe: 'no-such-program' })),
      run(request('', { exe: join(dir, 'plain') })),
      run(request('', { cwd: join(dir, 'none') })),
    ]);
    expect(ok).toMatchObject({ kind: 'exited', exitCode: 0, treeGone: true });
    expect(text(ok)).toMatch(/^out\nerr\nä\n=\|.*:herd%2Fjob%2F\d+$/);
    expect(code).toMatchObject({ kind: 'exited', exitCode: 137 });
    expect(signal).toMatchObject({ kind: 'signalled', signal: 'SIGKILL' });
    expect(late).toMatchObject({ kind: 'timed-out', exit: { signal: 'SIGKILL' }, treeGone: true });
    expect(missing).toMatchObject({ kind: 'could-not-start', code: 'PROCESS_EXE_NOT_FOUND' });
    expect(plain).toMatchObject({ kind: 'could-not-start', code: 'PROCESS_EXE_NOT_EXECUTABLE' });
    expect(folder).toMatchObject({ kind: 'could-not-start', code: 'PROCESS_CWD_INVALID' });
  });

  test('a tree ends with its process: its group at once, what left the group at the latest before its files go', async () => {
    await using runner = open();
    const group = request('sleep 60 & echo $! > child');
    expect(await runner.start(group).result).toMatchObject({ kind: 'exited', exitCode: 0 });
    expect(isAlive(await pidIn(join(dir, 'child')))).toBe(false);
    const left = request('setsid sh -c "echo \\$\\$ > stray; exec sleep 61" & while [ ! -s stray ]; do :; done');
    expect(await runner.start(left).result).toMatchObject({ kind: 'exited', exitCode: 0 });
    const stray = await pidIn(join(dir, 'stray'));
    await runner.settle('herd/other/');
    expect(isAlive(stray)).toBe(true);
    await runner.settle('herd/job/');
    expect(isAlive(stray)).toBe(false);
  });

  test('only the end of much output is kept, and the file stays short meanwhile', async () => {
    await using runner = createQuickRunner({ stateDir: join(dir, 'state'), spawner, pollMs: 5 });
    const result = await runner.start(request('head -c 4000000 /dev/zero | tr "\\0" a; sleep 0.1; printf end')).result;
    expect(result.outputTail).toHaveLength(16 * 1024);
    expect(text(result)).toMatch(/^a+end$/);
    expect(text(await runner.start(request('echo next')).result)).toBe('next\n');
  });

  test('a cancel at any moment ends it, and a stop ends all', async () => {
    const runner = open();
    const early = runner.start(request('exec sleep 60'));
    early.cancel('not wanted');
    const later = runner.start(request('echo $$ > pid; exec sleep 60'));
    const pid = await pidIn(join(dir, 'pid'));
    expect(await early.result).toMatchObject({ kind: 'cancelled', reason: 'not wanted' });
    await runner.stop();
    expect(await later.result).toMatchObject({ kind: 'cancelled' });
    expect(isAlive(pid)).toBe(false);
    expect(() => runner.start(request(''))).toThrow(/has stopped/);
  });

  test('a FIFO is made, or it is said why not', async () => {
    await using runner = open();
    await runner.makeFifo(join(dir, 'fifo'));
    expect(readdirSync(dir)).toContain('fifo');
    await expect(runner.makeFifo(join(dir, 'fifo'))).rejects.toThrow();
  });
});

test('a helper that is ended takes what it ran with it; the next start has a new one', async () => {
  if (findSpawnHelperInterpreter() === undefined) return;
  await using runner = createQuickRunner({ stateDir: join(dir, 'state') });
  const run = runner.start(request('echo $$ > pid; exec sleep 60'));
  const pid = await pidIn(join(dir, 'pid'));
  const helper = Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')[3]);
  process.kill(helper, 'SIGKILL');
  expect(await run.result).toMatchObject({ kind: 'lost', treeGone: true });
  expect(isAlive(pid)).toBe(false);
  expect(await runner.start(request('exit 4')).result).toMatchObject({ exitCode: 4 });
});

test('what is left of a killed agent is ended by the next: with its marker, without it, and by its helper', async () => {
  const program = `
    const { createQuickRunner } = await import(${JSON.stringify(new URL('./quick-runner.ts', import.meta.url).href)});
    const runner = createQuickRunner({ stateDir: ${JSON.stringify(join(dir, 'state'))}, spawner: process.argv[1] });
    const start = (script) => runner.start({ key: script, exe: 'sh', args: ['-c', script], env: { PATH: process.env.PATH },
      cwd: ${JSON.stringify(dir)}, outputDir: ${JSON.stringify(join(dir, 'output'))}, cancelGraceMs: 0 });
    start('echo $$ > marked; exec sleep 60');
    start('echo $$ > bare; exec env -i /bin/sleep 61');
    setInterval(() => {
      if (['marked', 'bare'].every((name) => require('fs').existsSync(${JSON.stringify(dir)} + '/' + name))) process.kill(process.pid, 'SIGKILL');
    }, 5);
  `;
  const url = `data:text/javascript,${encodeURIComponent("import { createRequire } from 'node:module'; globalThis.require = createRequire('/');" + program)}`;
  for (const spawner of spawners) {
    try {
      execFileSync(process.execPath, ['--conditions=@drover/source', '--import', url, '-e', '0', spawner], {
        stdio: 'ignore',
      });
    } catch {
      // It killed itself, as it should.
    }
    const pids = await Promise.all([pidIn(join(dir, 'marked')), pidIn(join(dir, 'bare'))]);
    await using runner = createQuickRunner({ stateDir: join(dir, 'state') });
    await runner.endLeftovers(new AbortController().signal);
    expect(pids.map(isAlive)).toEqual([false, false]);
    expect(pids.flatMap((pid) => readMarkers(pid))).toEqual([]);
    for (const name of ['marked', 'bare']) rmSync(join(dir, name));
  }
});
