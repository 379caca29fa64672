import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { anyUnpack, StringValueSchema } from '@bufbuild/protobuf/wkt';
import { Outcome } from '@drover/lease-protocol';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { serveIpcLeaseClient } from './testing/ipc-lease-client.test.fixture.ts';
import { MemoryLeaseServer, type MemoryAttempt } from './testing/index.ts';

let dir: string;
let server: MemoryLeaseServer;
const children = new Set<ChildProcess>();

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'drover-agent-process-'));
  server = new MemoryLeaseServer();
});
afterEach(async () => {
  for (const child of children) await kill(child);
  server.close();
  await rm(dir, { recursive: true, force: true });
});

function startAgent(env: Record<string, string> = {}): ChildProcess {
  const child = fork(join(import.meta.dirname, 'testing/forked-agent.test.child.ts'), {
    execPath: process.execPath,
    execArgv: ['--conditions=@drover/source', '--no-warnings'],
    serialization: 'advanced',
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    env: { ...process.env, STATE_DIR: join(dir, 'state'), STARTS_FILE: join(dir, 'starts'), ...env },
  });
  children.add(child);
  child.once('exit', () => children.delete(child));
  serveIpcLeaseClient(child, server.client());
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

const offer = (value: string): MemoryAttempt => server.offer(StringValueSchema, create(StringValueSchema, { value }));
const starts = (): string[] =>
  existsSync(join(dir, 'starts')) ? readFileSync(join(dir, 'starts'), 'utf8').trim().split('\n') : [];

async function hangingAttempt(): Promise<MemoryAttempt> {
  const attempt = offer('hang');
  await server.until(() => server.logText(attempt, 'step') !== undefined);
  return attempt;
}

describe('kill -9 in the middle', () => {
  test('of a type that cannot be resumed: it is lost, its log is kept, and nothing starts again', async () => {
    const first = startAgent();
    const attempt = await hangingAttempt();
    await kill(first);
    startAgent();
    const ending = await server.ended(attempt);
    expect(ending).toMatchObject({
      kind: 'reported',
      report: { outcome: Outcome.LOST, reason: { code: 'ATTEMPT_INTERRUPTED' } },
    });
    expect(server.logText(attempt, 'step')).toBe('written before the crash\n');
    expect(starts()).toEqual([`run ${attempt.leaseId}`]);
    expect(server.sessionsOpened[1]!.proven.map(({ leaseId }) => leaseId)).toEqual([attempt.leaseId]);
  });

  test('of a type that can: it is resumed, never run again, and its log goes on', async () => {
    const first = startAgent({ RESUMABLE: '1' });
    const attempt = await hangingAttempt();
    await kill(first);
    startAgent({ RESUMABLE: '1' });
    const ending = await server.ended(attempt);
    if (ending.kind !== 'reported' || ending.report.result.case !== 'output') throw new Error(ending.kind);
    expect(anyUnpack(ending.report.result.value, StringValueSchema)?.value).toBe('resumed hang');
    expect(server.logText(attempt, 'step')).toBe('written before the crash\nwritten after the crash\n');
    expect(starts()).toEqual([`run ${attempt.leaseId}`, `resume ${attempt.leaseId}`]);
  });

  test('again and again under load: no handler starts twice, and every attempt ends once', async () => {
    const attempts: MemoryAttempt[] = [];
    for (let round = 0; round < 3; round++) {
      const child = startAgent();
      const before = attempts.filter(({ ending }) => ending).length;
      for (let index = 0; index < 60; index++) attempts.push(offer('quick'));
      await server.until(() => attempts.filter(({ ending }) => ending).length > before + 10 * (round + 1));
      await kill(child);
    }
    startAgent();
    for (const attempt of attempts) await server.ended(attempt);
    const lines = starts();
    expect(new Set(lines).size).toBe(lines.length);
    const completed = attempts.filter(
      ({ ending }) => ending?.kind === 'reported' && ending.report.outcome === Outcome.COMPLETED,
    );
    expect(completed.length).toBeGreaterThan(20);
    const ran = new Set(lines.map((line) => line.split(' ')[1]));
    expect(completed.every(({ leaseId }) => ran.has(leaseId))).toBe(true);
  }, 60_000);
});

test('a process that is fenced ends by itself', async () => {
  const child = startAgent();
  await hangingAttempt();
  const exited = once(child, 'exit');
  server.fence();
  expect(await exited).toEqual([3, null]);
});

test('a second process on the same state folder ends at once, and the first goes on', async () => {
  startAgent();
  const attempt = await hangingAttempt();
  const second = startAgent();
  let said = '';
  second.stderr!.setEncoding('utf8').on('data', (text: string) => (said += text));
  expect(await once(second, 'close')).toEqual([2, null]);
  expect(said).toContain('AGENT_STATE_IN_USE');
  server.cancel(attempt);
  await server.ended(attempt);
});

test('SIGTERM drains: what runs is finished and the process ends with 0', async () => {
  const child = startAgent();
  const attempt = await hangingAttempt();
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await server.until(() => server.received.at(-1)?.condition === 3);
  server.cancel(attempt);
  expect(await exited).toEqual([0, null]);
  expect(attempt.ending).toBeDefined();
});

describe('an attempt that ends the process of its agent', () => {
  /** An attempt whose going down is persisted. */
  async function goingDown(how = 'restart'): Promise<MemoryAttempt> {
    const attempt = offer(how);
    await server.until(() => attempt.goingDown);
    await expect.poll(starts).toContain(`down ${attempt.leaseId}`);
    return attempt;
  }

  async function isResumed(attempt: MemoryAttempt): Promise<void> {
    startAgent({ RESUMABLE: '1' });
    const ending = await server.ended(attempt);
    if (ending.kind !== 'reported' || ending.report.result.case !== 'output') throw new Error(ending.kind);
    expect(anyUnpack(ending.report.result.value, StringValueSchema)?.value).toMatch(/^resumed /);
    expect(starts().filter((line) => line.endsWith(attempt.leaseId))).toEqual(
      ['run', 'down', 'resume'].map((how) => `${how} ${attempt.leaseId}`),
    );
    // The agent has come back: it proves the attempt and no longer says that it goes down.
    expect(server.sessionsOpened.at(-1)).toMatchObject({ proven: [{ leaseId: attempt.leaseId }], goingDown: [] });
  }

  test('is resumed by the next process after kill -9', async () => {
    const first = startAgent({ RESUMABLE: '1' });
    const attempt = await goingDown();
    await kill(first);
    expect(attempt.ending).toBeUndefined();
    await isResumed(attempt);
  });

  test('is neither waited for nor ended on SIGTERM, while what else runs is stopped', async () => {
    const first = startAgent({ RESUMABLE: '1' });
    const other = await hangingAttempt();
    const attempt = await goingDown();
    const exited = once(first, 'exit');
    first.kill('SIGTERM');
    expect(await exited).toEqual([5, null]);
    expect(attempt.ending).toBeUndefined();
    await isResumed(attempt);
    expect((await server.ended(other)).kind).toBe('reported');
  });

  test('ends in time on SIGTERM when the network is gone first; what is not told then, the next process tells', async () => {
    const first = startAgent({ RESUMABLE: '1' });
    const other = await hangingAttempt();
    const attempt = await goingDown();
    const exited = once(first, 'exit');
    first.removeAllListeners('message');
    first.kill('SIGTERM');
    expect(await exited).toEqual([5, null]);
    expect([attempt.ending, other.ending]).toEqual([undefined, undefined]);
    server.breakSession();
    startAgent({ RESUMABLE: '1' });
    const [resumed, told] = [await server.ended(attempt), await server.ended(other)];
    expect(resumed).toMatchObject({ kind: 'reported', report: { outcome: Outcome.COMPLETED } });
    expect(told).toMatchObject({ kind: 'reported', report: { reason: { code: 'STOPPED' } } });
    expect(starts().filter((line) => line.endsWith(other.leaseId))).toEqual([`run ${other.leaseId}`]);
  });

  test('hands over: the process ends by itself and the next one resumes it', async () => {
    const first = startAgent({ RESUMABLE: '1' });
    const exited = once(first, 'exit');
    const attempt = await goingDown('hand over');
    expect(await exited).toEqual([6, null]);
    await isResumed(attempt);
  });

  test('says so again in a new session of the same process', async () => {
    startAgent({ RESUMABLE: '1' });
    const attempt = await goingDown();
    server.breakSession();
    await server.until(() => server.sessionsOpened.length === 2);
    const key = { leaseId: attempt.leaseId, attempt: 1 };
    expect(server.sessionsOpened[1]).toMatchObject({ proven: [key], goingDown: [key] });
    expect(attempt.goingDown).toBe(true);
  });
});
