import { createReadStream } from 'node:fs';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { collectBytes, createMemoryContentStore, digestOfBytes, digestToWire, storeTree } from '@drover/content-store';
import { silentLogger, systemClock, type HandlerResult, type LeaseContext, type StopReason } from '@drover/lease-kit';
import { createProcessRunner, type ProcessRunner } from '@drover/process-runner';
import { mkdtemp, readdir, readFile, rm, symlink, mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BatchSchema, StepEnd, type BatchResult, type BatchResultSchema } from '../gen/drover/job/v1/job_pb.ts';
import { createJobHandler } from './job-handler.ts';

const node = process.execPath;
let dir: string;
let runner: ProcessRunner;
let content: ReturnType<typeof createMemoryContentStore>;
let stop: AbortController;
let reported: { percent: number; message: string }[];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'job-handler-'));
  runner = createProcessRunner({ stateDir: join(dir, 'runner'), pollMs: 20 });
  content = createMemoryContentStore();
  stop = new AbortController();
  reported = [];
});
afterEach(async () => {
  await runner.stop();
  await rm(dir, { recursive: true, force: true });
});

async function context(resources: Record<string, number> = { cores: 2 }): Promise<LeaseContext> {
  const attemptDir = join(dir, 'attempt');
  await mkdir(join(attemptDir, 'logs'), { recursive: true });
  return {
    leaseId: 'lease-1',
    attempt: 1,
    agentId: 'agent-1',
    attemptDir,
    signal: stop.signal,
    cancelGraceMs: 2_000,
    resources,
    bootId: 'boot-1',
    clock: systemClock,
    logger: silentLogger,
    progress: (percent, message = '') => void reported.push({ percent, message }),
    log: (name) => ({
      path: join(attemptDir, 'logs', name),
      write: () => Promise.resolve(),
      content: () => createReadStream(join(attemptDir, 'logs', name)),
      complete: () => Promise.resolve(),
    }),
    secrets: () => Promise.resolve(new Map([['TOKEN', 'hunter2']])),
    goingDown: () => Promise.resolve(),
    handOver: () => undefined,
    connected: () => Promise.resolve(),
  };
}

type BatchInit = MessageInitShape<typeof BatchSchema>;

async function run(batch: BatchInit): Promise<HandlerResult<typeof BatchResultSchema>> {
  const handler = createJobHandler({ runner, content, workspaces: [] });
  return handler.run(create(BatchSchema, { name: 'b', ...batch }), await context());
}

async function completed(batch: BatchInit): Promise<BatchResult> {
  const result = await run(batch);
  if (result.kind !== 'completed') throw new Error(`${result.kind}: ${result.message}`);
  return result.output;
}

const script = (name: string, code: string, more: object = {}) => ({
  name,
  exe: node,
  arguments: ['-e', code],
  ...more,
});

describe('a batch', () => {
  test('runs its steps by need, keeps logs and outputs, and succeeds', async () => {
    const result = await completed({
      steps: [
        script(
          'write',
          `require('fs').mkdirSync('out'); require('fs').writeFileSync('out/a.txt', 'hello'); console.log('wrote')`,
        ),
        script('read', `console.log(require('fs').readFileSync('out/a.txt', 'utf8'))`, { needs: ['write'] }),
      ],
      outputs: [{ path: 'out', required: true }],
    });
    expect(result).toMatchObject({ succeeded: true, missingOutputs: [], problems: [] });
    expect(result.steps.map(({ end, exitCode }) => [end, exitCode])).toEqual([
      [StepEnd.EXITED, 0],
      [StepEnd.EXITED, 0],
    ]);
    expect(result.outputs).toMatchObject([
      { path: 'out/a.txt', digest: digestToWire(digestOfBytes(Buffer.from('hello'))) },
    ]);
    expect(await readFile(join(dir, 'attempt/logs/read'), 'utf8')).toBe('hello\n');
    const log = result.steps[1]!.log!;
    const bytes = await collectBytes(content.read({ hash: log.hash, sizeBytes: Number(log.sizeBytes) }), 100);
    expect(Buffer.from(bytes).toString()).toBe('hello\n');
    expect(reported.at(-1)).toEqual({ percent: 100, message: 'read succeeded' });
  });

  test('tells a step that failed, one that needed it, and one that runs always', async () => {
    const result = await completed({
      steps: [
        script('fail', 'process.exit(3)'),
        script('next', '', { needs: ['fail'] }),
        script('report', '', { needs: ['next'], always: true }),
      ],
    });
    expect(result.succeeded).toBe(false);
    expect(result.steps.map(({ end, exitCode }) => [end, exitCode])).toEqual([
      [StepEnd.EXITED, 3],
      [StepEnd.SKIPPED, 0],
      [StepEnd.EXITED, 0],
    ]);
    expect(result.steps[1]!.reason?.message).toBe('skipped: it needs fail, which did not succeed');
  });

  test('tells a signal, a time-out, too much memory and a program that is not there apart', async () => {
    const result = await completed({
      steps: [
        script('signal', `process.kill(process.pid, 'SIGSEGV')`),
        script('slow', 'setInterval(() => {}, 1000)', { timeout: { seconds: 0n, nanos: 300_000_000 } }),
        script('big', `const a = []; setInterval(() => a.push(Buffer.alloc(64 << 20, 1)), 5)`, {
          memoryMaxBytes: 400n << 20n,
        }),
        { name: 'absent', exe: 'no-such-program-here' },
      ],
    });
    expect(result.steps.map(({ end }) => end)).toEqual([
      StepEnd.SIGNALLED,
      StepEnd.TIMED_OUT,
      StepEnd.OUT_OF_MEMORY,
      StepEnd.NOT_STARTED,
    ]);
    expect(result.steps[0]!.signal).toBe('SIGSEGV');
    expect(result.steps[3]!.reason?.code).toBe('PROCESS_EXE_NOT_FOUND');
    expect(await readFile(join(dir, 'attempt/logs/absent'), 'utf8')).toMatch(/was not found/);
  });

  test('that is cancelled stops its processes and says so, with what it has', async () => {
    const ready = join(dir, 'ready');
    const running = run({
      steps: [
        script('wait', `require('fs').writeFileSync(${JSON.stringify(ready)}, ''); setInterval(() => {}, 1000)`),
        script('never', '', { needs: ['wait'] }),
      ],
    });
    await expect.poll(() => readFile(ready, 'utf8').catch(() => undefined), { timeout: 10_000 }).toBe('');
    stop.abort({ code: 'cancelled', message: 'not wanted' } satisfies StopReason);
    const result = await running;
    expect(result).toMatchObject({ kind: 'cancelled', code: 'BATCH_CANCELLED', message: 'not wanted' });
    expect(result.output?.steps.map(({ end }) => end)).toEqual([StepEnd.CANCELLED, StepEnd.CANCELLED]);
  });

  test('shows the progress that a step reports', async () => {
    const result = await completed({
      steps: [
        script('work', `require('fs').appendFileSync(process.env.DROVER_PROGRESS, '40 half way\\nnonsense\\n80\\n')`),
      ],
    });
    expect(result.succeeded).toBe(true);
    expect(reported.map(({ percent, message }) => `${percent} ${message}`)).toEqual(
      expect.arrayContaining(['40 work: half way', '80 work', '100 work succeeded']),
    );
  });

  test('gets its input files, and a missing blob fails the attempt', async () => {
    const bytes = Buffer.from('input');
    const digest = digestOfBytes(bytes);
    const batch: BatchInit = {
      inputs: [{ path: 'in/x', source: { case: 'file', value: { digest: digestToWire(digest) } } }],
      steps: [script('check', `process.exit(require('fs').readFileSync('in/x', 'utf8') === 'input' ? 0 : 1)`)],
    };
    expect(await run(batch)).toMatchObject({ kind: 'failed', code: 'BLOB_NOT_FOUND' });
    await rm(join(dir, 'attempt'), { recursive: true });
    await content.write(digest, bytes);
    expect((await completed(batch)).succeeded).toBe(true);
  });

  test('keeps no output that is a symbolic link out of its folder, and loses no other', async () => {
    const secret = join(dir, 'secret');
    const result = await completed({
      steps: [
        script(
          'write',
          `const fs = require('fs'); fs.writeFileSync(${JSON.stringify(secret)}, 's'); fs.symlinkSync(${JSON.stringify(secret)}, 'leak'); fs.writeFileSync('good', 'g')`,
        ),
      ],
      outputs: [{ path: 'leak' }, { path: 'good' }, { path: 'none/*', required: true }],
    });
    expect(result.outputs.map(({ path }) => path)).toEqual(['good']);
    expect(result.problems).toMatchObject([{ code: 'SYMLINK_ESCAPES' }]);
    expect(result.missingOutputs).toEqual(['none/*']);
    expect(result.succeeded).toBe(false);
  });

  test('puts no input through a symbolic link out of its folder', async () => {
    const outside = join(dir, 'outside');
    await mkdir(outside);
    await mkdir(join(dir, 'attempt/work'), { recursive: true });
    await symlink(outside, join(dir, 'attempt/work/link'));
    const bytes = Buffer.from('x');
    await content.write(digestOfBytes(bytes), bytes);
    const result = await run({
      inputs: [{ path: 'link/x', source: { case: 'file', value: { digest: digestToWire(digestOfBytes(bytes)) } } }],
      steps: [script('s', '')],
    });
    expect(result).toMatchObject({ kind: 'failed', code: 'SYMLINK_ESCAPES' });
  });

  test('makes no folder and puts no tree through a symbolic link either', async () => {
    const outside = join(dir, 'outside');
    await mkdir(outside);
    await mkdir(join(dir, 'attempt/work'), { recursive: true });
    await symlink(outside, join(dir, 'attempt/work/link'));
    await symlink(join(outside, 'absent'), join(dir, 'attempt/work/dangling'));
    const bytes = Buffer.from('x');
    const file = { case: 'file' as const, value: { digest: digestToWire(digestOfBytes(bytes)) } };
    await content.write(digestOfBytes(bytes), bytes);
    await mkdir(join(dir, 'tree'));
    await writeFile(join(dir, 'tree/y'), bytes);
    const stored = await storeTree(content, { directory: join(dir, 'tree') });
    const tree = { case: 'tree' as const, value: digestToWire(stored.digest) };
    for (const input of [
      { path: 'link/a/b/x', source: file },
      { path: 'dangling/x', source: file },
      { path: 'link', source: tree },
      { path: 'dangling', source: tree },
    ]) {
      const result = await run({ inputs: [input], steps: [script('s', '')] });
      expect(result, input.path).toMatchObject({ kind: 'failed', code: 'SYMLINK_ESCAPES' });
    }
    expect(await readdir(outside)).toEqual([]);
  });
});
