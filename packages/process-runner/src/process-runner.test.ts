import { isDroverError } from '@drover/lease-kit';
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createProcessRunner, type ProcessRunner, type ProcessRunnerOptions } from './process-runner.ts';
import type { ProcessRequest } from './process-request.ts';
import { processKeyVariable } from './process-marker.ts';
import { readProcessTable } from './process-table.ts';

const never = new AbortController().signal;
const path = process.env['PATH'] ?? '/usr/bin:/bin';
let dir: string;
let spoolPath: string;
const runners: ProcessRunner[] = [];

function newRunner(options: Partial<ProcessRunnerOptions> = {}): ProcessRunner {
  const runner = createProcessRunner({ stateDir: join(dir, 'state'), pollMs: 20, ...options });
  runners.push(runner);
  return runner;
}

function shell(script: string, more: Partial<ProcessRequest> = {}): ProcessRequest {
  const request = { key: 'job/1', exe: 'sh', args: ['-c', script], env: { PATH: path }, cwd: dir, spoolPath };
  return { ...request, cancelGraceMs: 5000, ...more };
}

const spooled = () => readFileSync(spoolPath, 'utf8');
const spoolHas = (text: string) =>
  vi.waitFor(() => expect(spooled()).toContain(text), { timeout: 10_000, interval: 5 });

/** The command lines of live processes that hold a text which only one test uses. */
function processesNamed(text: string): number[] {
  return [...readProcessTable().keys()].filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(text);
    } catch {
      return false;
    }
  });
}

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-runner-'));
  spoolPath = join(dir, 'spool', 'out.log');
});

afterEach(async () => {
  await Promise.all(runners.splice(0).map((runner) => runner.stop()));
  rmSync(dir, { recursive: true, force: true });
});

describe('how a process ended', () => {
  test('an exit code, with both streams in the spool in the order they were written', async () => {
    const running = await newRunner().start(
      shell('echo one; echo two >&2; echo "$A|$HOME|$PWD"; exit 7', { env: { A: 'a', PATH: path } }),
      never,
    );
    expect(running.pid).toBeGreaterThan(1);
    expect(running.startTime).toBeGreaterThan(0);
    expect(await running.result).toMatchObject({
      kind: 'exited',
      exitCode: 7,
      exit: { exitCode: 7 },
      stragglers: 0,
      treeGone: true,
    });
    expect(spooled()).toBe(`one\ntwo\na||${dir}\n`);
    expect((await running.result).spoolSizeBytes).toBe(spooled().length);
  });

  test.each(['SIGTERM', 'SIGSEGV', 'SIGKILL'] as const)(
    'the signal %s, which the runner did not send',
    async (signal) => {
      const running = await newRunner().start(shell(`kill -${signal.slice(3)} $$`), never);
      const result = await running.result;
      expect(result).toMatchObject({ kind: 'signalled', signal, exit: { signal } });
      if (result.kind === 'signalled') expect(result.machineOomKills).toBeGreaterThanOrEqual(0);
    },
  );

  test.each([
    ['PROCESS_EXE_NOT_FOUND', { exe: 'no-such-program', env: { PATH: '/usr/bin:/bin' } }],
    ['PROCESS_EXE_NOT_FOUND', { exe: './missing-interpreter' }],
    ['PROCESS_EXE_NOT_EXECUTABLE', { exe: './not-executable' }],
    ['PROCESS_CWD_INVALID', { cwd: '/no/such/folder' }],
    ['PROCESS_CWD_INVALID', { cwd: '/etc/passwd' }],
    ['PROCESS_ARGUMENTS_INVALID', { args: ['a\0b'] }],
    ['PROCESS_ARGUMENTS_INVALID', { args: Array<string>(400).fill('x'.repeat(100_000)) }],
  ] as const)('%s: %o', async (code, more) => {
    writeFileSync(join(dir, 'not-executable'), '#!/bin/sh\n');
    writeFileSync(join(dir, 'missing-interpreter'), '#!/no/such/interpreter\n');
    chmodSync(join(dir, 'missing-interpreter'), 0o755);
    const runner = newRunner();
    const running = await runner.start(shell('true', more), never);
    expect(running.pid).toBeUndefined();
    expect(await running.result).toMatchObject({ kind: 'could-not-start', code });
    expect(await runner.findLeftovers(never)).toEqual([]);
    const again = await runner.start(shell('exit 0'), never);
    expect(await again.result).toMatchObject({ kind: 'exited', exitCode: 0 });
  });

  test('the execution limit', async () => {
    const running = await newRunner().start(
      shell('while :; do echo tick; sleep 0.01; done', { timeoutMs: 150 }),
      never,
    );
    expect(await running.result).toMatchObject({
      kind: 'timed-out',
      limit: 'execution',
      timeoutMs: 150,
      exit: { signal: 'SIGTERM' },
    });
  });

  test('the idle limit, which output puts off', async () => {
    const script = 'for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.1; done; exec sleep 600';
    const running = await newRunner().start(shell(script, { idleTimeoutMs: 400 }), never);
    expect(await running.result).toMatchObject({ kind: 'timed-out', limit: 'idle', timeoutMs: 400 });
    expect(spooled()).toBe('1\n2\n3\n4\n5\n6\n7\n8\n');
  });

  test('a cancel gives the process its grace period', async () => {
    const running = await newRunner().start(
      shell('trap "echo bye; exit 3" TERM; echo ready; while :; do sleep 0.01; done'),
      never,
    );
    await spoolHas('ready');
    running.cancel('the user asked');
    running.cancel('too late to count');
    expect(await running.result).toMatchObject({ kind: 'cancelled', reason: 'the user asked', exit: { exitCode: 3 } });
    // The shell may tell of its ended child in between.
    expect(spooled()).toMatch(/^ready\n(.*\n)?bye\n$/);
  });

  test('a process that ignores SIGTERM gets SIGKILL after the grace period', async () => {
    const abort = new AbortController();
    const script = 'trap "" TERM; echo ready; while :; do sleep 0.01; done';
    const running = await newRunner().start(shell(script, { cancelGraceMs: 50 }), abort.signal);
    await spoolHas('ready');
    abort.abort(new Error('the lease was cancelled'));
    expect(await running.result).toMatchObject({
      kind: 'cancelled',
      reason: 'the lease was cancelled',
      exit: { signal: 'SIGKILL' },
    });
  });

  test('a stopped process is ended too', async () => {
    const running = await newRunner().start(shell('echo ready; kill -STOP $$; echo woken'), never);
    await spoolHas('ready');
    running.cancel('no more');
    expect(await running.result).toMatchObject({ kind: 'cancelled', treeGone: true });
  });

  test('memory above the limit, sampled over the whole tree', async () => {
    const script = `"${process.execPath}" -e "globalThis.a = Buffer.alloc(300e6, 1); setInterval(() => {}, 1000)" & wait`;
    const running = await newRunner({ cgroupParent: 'none' }).start(shell(script, { memoryBytesMax: 200e6 }), never);
    const result = await running.result;
    expect(result).toMatchObject({ kind: 'out-of-memory', evidence: 'sampled', memoryBytesMax: 200e6, treeGone: true });
    expect(result.memoryBytesPeak).toBeGreaterThan(200e6);
  });

  test('more output than the cap, cut to exactly the cap', async () => {
    const running = await newRunner().start(shell('exec yes', { logSizeBytesMax: 100_000 }), never);
    expect(await running.result).toMatchObject({
      kind: 'output-limit',
      logSizeBytesMax: 100_000,
      spoolSizeBytes: 100_000,
    });
    expect(statSync(spoolPath).size).toBe(100_000);
  });

  test('more output than the cap is told also when the process was quicker than the poll', async () => {
    const running = await newRunner({ pollMs: 60_000 }).start(
      shell('head -c 5000 /dev/zero', { logSizeBytesMax: 1000 }),
      never,
    );
    expect(await running.result).toMatchObject({ kind: 'output-limit', spoolSizeBytes: 1000, exit: { exitCode: 0 } });
  });
});

describe.each(['auto', 'none'])('the whole tree, with cgroups %s', (cgroupParent) => {
  test('a descendant in a session of its own is taken by a cancel', async () => {
    const name = `sleep-${process.pid}-${cgroupParent}`;
    const script = `setsid sh -c 'trap "" TERM HUP; echo escaped; while :; do sleep 0.05; done' ${name} & echo ready; wait`;
    const running = await newRunner({ cgroupParent }).start(shell(script, { cancelGraceMs: 50 }), never);
    await spoolHas('escaped');
    expect(processesNamed(name)).not.toEqual([]);
    running.cancel('enough');
    expect(await running.result).toMatchObject({ kind: 'cancelled', treeGone: true });
    expect(processesNamed(name)).toEqual([]);
  });

  test('a daemon that was left behind by a process that ended well is a straggler, and ended', async () => {
    const name = `daemon-${process.pid}-${cgroupParent}`;
    // Its parent is gone and its session is its own: the cgroup holds it, or the marker tells of it.
    const script = `(setsid sh -c 'echo escaped; while :; do sleep 0.05; done' ${name} &) ; while ! grep -q escaped "$SPOOL"; do :; done; exit 4`;
    const running = await newRunner({ cgroupParent }).start(
      shell(script, { env: { PATH: path, SPOOL: spoolPath } }),
      never,
    );
    const result = await running.result;
    expect(result).toMatchObject({ kind: 'exited', exitCode: 4, treeGone: true });
    expect(result.stragglers).toBeGreaterThan(0);
    expect(processesNamed(name)).toEqual([]);
  });

  test('a descendant that drops its environment and its session is found by its parent', async () => {
    const name = `bare-${process.pid}-${cgroupParent}`;
    const script = `env -i setsid sh -c 'echo escaped; while :; do /bin/sleep 0.05; done' ${name} & wait`;
    const running = await newRunner({ cgroupParent }).start(shell(script), never);
    await spoolHas('escaped');
    running.cancel('enough');
    expect(await running.result).toMatchObject({ kind: 'cancelled', treeGone: true });
    expect(processesNamed(name)).toEqual([]);
  });

  test('stop cancels what runs and gives the folder back', async () => {
    const runner = newRunner({ cgroupParent });
    const running = await runner.start(shell('echo ready; sleep 600'), never);
    await Promise.all([runner.stop(), runner.stop()]);
    expect(await running.result).toMatchObject({ kind: 'cancelled', reason: 'the process runner stops' });
    await expect(runner.start(shell('true'), never)).rejects.toMatchObject({ code: 'PROCESS_RUNNER_STOPPED' });
    expect(await newRunner({ cgroupParent }).findLeftovers(never)).toEqual([]);
  });
});

test('a cgroup is used where this machine has a writable one, and removed afterwards [limits:cgroup-v2]', async ({
  skip,
}) => {
  const runner = newRunner();
  const { cgroupParent, tree } = runner.capabilities;
  if (cgroupParent === undefined) return skip('no writable cgroup v2 folder on this machine');
  expect(tree).toBe('cgroup');
  const running = await runner.start(shell('until grep drover- /proc/self/cgroup; do :; done'), never);
  expect(await running.result).toMatchObject({ kind: 'exited', exitCode: 0 });
  const group = /^0::.*\/(drover-[0-9a-f-]+)$/m.exec(spooled())?.[1];
  expect(group).toBeDefined();
  expect(existsSync(join(cgroupParent, group!))).toBe(false);
});

test('without /proc the process group alone is followed', async () => {
  const runner = newRunner({ tracking: 'process-group' });
  expect(runner.capabilities).toEqual({ tree: 'process-group', memory: 'none', leftovers: false });
  const running = await runner.start(shell('sleep 600 & echo ready; wait'), never);
  await spoolHas('ready');
  running.cancel('enough');
  expect(await running.result).toMatchObject({ kind: 'cancelled', treeGone: true });
  await expect(runner.start(shell('true', { memoryBytesMax: 1e9 }), never)).rejects.toMatchObject({
    code: 'PROCESS_MEMORY_LIMIT_UNSUPPORTED',
  });
});

describe('what is refused', () => {
  test.each([
    { key: '' },
    { key: 'x'.repeat(257) },
    { cwd: 'relative' },
    { spoolPath: 'relative' },
    { timeoutMs: 0 },
    { memoryBytesMax: Number.NaN },
    { cancelGraceMs: -1 },
  ])('%o', async (more) => {
    const error: unknown = await newRunner()
      .start(shell('true', more), never)
      .catch((thrown: unknown) => thrown);
    expect(isDroverError(error, 'PROCESS_REQUEST_INVALID')).toBe(true);
    expect((error as Error).message).toContain(Object.keys(more)[0]);
  });

  test('a key that runs, and one run more than the bound', async () => {
    const runner = newRunner({ processesMax: 1 });
    const running = await runner.start(shell('sleep 600'), never);
    await expect(runner.start(shell('true'), never)).rejects.toMatchObject({ code: 'PROCESS_KEY_IN_USE' });
    await expect(runner.start(shell('true', { key: 'other' }), never)).rejects.toMatchObject({
      code: 'PROCESS_TOO_MANY',
    });
    running.cancel('done');
    await running.result;
    expect(await (await runner.start(shell('true'), never)).result).toMatchObject({ kind: 'exited' });
  });

  test('a second runner in the same folder', () => {
    newRunner();
    expect(() => newRunner()).toThrow(expect.objectContaining({ code: 'PROCESS_STATE_DIR_IN_USE' }));
  });

  test('a signal that was aborted before', async () => {
    await expect(newRunner().start(shell('true'), AbortSignal.abort(new Error('no')))).rejects.toThrow('no');
  });

  test('a spool that is a device, or whose folder cannot be made', async () => {
    const runner = newRunner();
    await expect(runner.start(shell('true', { spoolPath: '/dev/full' }), never)).rejects.toMatchObject({
      code: 'PROCESS_SPOOL_UNWRITABLE',
    });
    await expect(runner.start(shell('true', { spoolPath: '/etc/passwd/x' }), never)).rejects.toMatchObject({
      code: 'PROCESS_SPOOL_UNWRITABLE',
    });
    expect(await runner.findLeftovers(never)).toEqual([]);
  });

  test('a full disk: before the start, and while the process runs [limits:root-only]', async ({ skip }) => {
    const disk = join(dir, 'disk');
    mkdirSync(disk);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', disk], { stdio: 'ignore' });
    } catch {
      return skip('a small file system can only be mounted as root');
    }
    try {
      const runner = newRunner();
      const full = { spoolPath: join(disk, 'out.log') };
      const running = await runner.start(shell('yes || true; sleep 600', full), never);
      expect(await running.result).toMatchObject({ kind: 'output-failed', code: 'PROCESS_SPOOL_FULL', treeGone: true });
      await expect(runner.start(shell('true', full), never)).rejects.toMatchObject({
        code: 'PROCESS_SPOOL_FULL',
        advice: 'exhausted',
      });
    } finally {
      await Promise.all(runners.splice(0).map((runner) => runner.stop()));
      execFileSync('umount', [disk]);
    }
  });
});

test('a runner inside a process of another runner keeps the outer marker', async () => {
  const running = await newRunner().start(shell(`echo "$${processKeyVariable}"`), never);
  await running.result;
  const own = spooled().trim();
  expect(own).toMatch(/^([^;]+;)*[0-9a-f]{32}:job%2F1$/);
  const before = process.env[processKeyVariable];
  process.env[processKeyVariable] = own;
  try {
    const inner = await newRunner({ stateDir: join(dir, 'inner') }).start(
      shell(`echo "$${processKeyVariable}"`, { key: 'inner' }),
      never,
    );
    await inner.result;
  } finally {
    if (before === undefined) delete process.env[processKeyVariable];
    else process.env[processKeyVariable] = before;
  }
  expect(spooled().trim().split('\n')[1]).toMatch(new RegExp(`^${own};[0-9a-f]{32}:inner$`));
});

test('a runner never ends what is not its own', async () => {
  const innocent = spawn('sleep', ['600'], { stdio: 'ignore' });
  try {
    const runner = newRunner();
    const running = await runner.start(shell('sleep 600'), never);
    running.cancel('enough');
    await running.result;
    expect(innocent.exitCode ?? innocent.signalCode).toBeNull();
  } finally {
    innocent.kill('SIGKILL');
  }
});
