import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { anyUnpack, StringValueSchema } from '@bufbuild/protobuf/wkt';
import {
  defineLeaseType,
  DroverError,
  silentLogger,
  type HandlerResult,
  type LeaseContext,
  type LeaseHandler,
  type StopReason,
} from '@drover/lease-kit';
import { ManualClock } from '@drover/lease-kit/testing';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AttemptFolder, removeLeftFolders } from './attempt-folder.ts';
import type { AttemptReport } from './attempt-report.ts';
import { createHandlerRegistry } from './handler-registry.ts';
import { LogUploader } from './log-uploader.ts';
import { cutToBytes, ProgressBoard } from './progress-board.ts';
import { abandonAfterGraceMs, RunningAttempt } from './running-attempt.ts';

const type = defineLeaseType({ name: 'echo', payload: StringValueSchema, output: StringValueSchema });
const done = (value: string): HandlerResult<typeof StringValueSchema> => ({
  kind: 'completed',
  output: create(StringValueSchema, { value }),
});

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'drover-attempt-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

function begin(
  run: (context: LeaseContext) => Promise<HandlerResult>,
  runLimitMs?: number,
  { progressMsMax, resumable = false }: { readonly progressMsMax?: number; readonly resumable?: boolean } = {},
) {
  const clock = new ManualClock();
  const reports: AttemptReport[] = [];
  let returned = 0;
  const progress: [number, string][] = [];
  const said: string[] = [];
  const connected = Promise.withResolvers<void>();
  const act: LeaseHandler['run'] = (_payload, context) => run(context);
  const handler = { type, run: act, ...(resumable ? { resume: act } : {}) } satisfies LeaseHandler as LeaseHandler;
  const name = { leaseId: 'lease', attempt: 1 };
  const folder = new AttemptFolder(root, name, false);
  const uploader = new LogUploader({ append: () => Promise.resolve(0), clock, logger: silentLogger });
  const ended = Promise.withResolvers<AttemptReport>();
  const attempt = new RunningAttempt(
    {
      ...name,
      agentId: 'agent',
      handler,
      payload: create(StringValueSchema, { value: 'hello' }),
      resources: { cores: 2 },
      runLimitMs,
      progressMsMax,
      cancelGraceMs: 1_000,
      bootId: 'boot',
    },
    {
      clock,
      logger: silentLogger,
      folder,
      logs: uploader.open(name, folder),
      onProgress: (percent, message) => progress.push([percent, message]),
      onGoingDown: () => said.push('going-down'),
      onHandOver: () => said.push('hand-over'),
      secrets: () => Promise.resolve(new Map([['TOKEN', new TextEncoder().encode('hunter2')]])),
      connected: () => connected.promise,
      onEnded: (report) => {
        reports.push(report);
        ended.resolve(report);
      },
      onReturned: () => (returned += 1),
    },
  );
  attempt.start('run');
  const outcome = { reports, ended: ended.promise, returned: () => returned };
  return { clock, attempt, ...outcome, progress, folder, said, connected: () => connected.resolve() };
}

const stopsWhenAsked = (context: LeaseContext) =>
  new Promise<HandlerResult>((resolve) =>
    context.signal.addEventListener('abort', () =>
      resolve({ kind: 'cancelled', code: 'STOPPED', message: 'as asked' }),
    ),
  );

describe('an attempt', () => {
  test('ends with what its handler returns, and makes no folder that it does not use', async () => {
    const { ended, returned, clock, folder } = begin(() => Promise.resolve(done('out')));
    const report = await ended;
    expect(anyUnpack(report.output!, StringValueSchema)?.value).toBe('out');
    await expect.poll(returned).toBe(1);
    expect(clock.pendingCalls).toBe(0);
    expect(existsSync(folder.path)).toBe(false);
  });

  test.each([
    [new DroverError({ code: 'INPUT_MISSING', advice: 'not-found', message: 'gone' }), 'INPUT_MISSING'],
    [new Error('boom'), 'HANDLER_FAILED'],
  ])('that throws failed with a code', async (error, code) => {
    const { ended } = begin(() => {
      throw error;
    });
    expect(await ended).toMatchObject({ outcome: 'failed', reason: { code, message: error.message } });
  });

  test('has a context that a handler may take apart', async () => {
    const { ended, progress } = begin(async ({ progress, log }) => {
      progress(50, 'half');
      await log('l').write('text');
      return done('ok');
    });
    await expect(ended).resolves.toMatchObject({ outcome: 'completed' });
    expect(progress).toEqual([[50, 'half']]);
  });

  test('whose output is none failed', async () => {
    const { ended } = begin(() => Promise.resolve({ kind: 'completed', output: undefined as never }));
    expect(await ended).toMatchObject({ outcome: 'failed' });
  });

  test.each<[StopReason['code'], AttemptReport['outcome']]>([
    ['cancelled', 'cancelled'],
    ['timed-out', 'timed-out'],
    ['busy', 'lost'],
    ['shutting-down', 'lost'],
    ['cut-off', 'lost'],
  ])('that was stopped because %s ends as %s', async (code, outcome) => {
    const { attempt, ended, clock } = begin(stopsWhenAsked);
    attempt.stop({ code, message: 'stop' });
    expect(await ended).toMatchObject({ outcome, reason: { code: 'STOPPED' } });
    expect(clock.pendingCalls).toBe(0);
  });

  test('is stopped at its run limit', async () => {
    const { ended, clock } = begin(stopsWhenAsked, 5_000);
    clock.advance(5_000);
    expect(await ended).toMatchObject({ outcome: 'timed-out' });
  });

  test('may run longer than a timer can wait', () => {
    const { reports, clock, attempt } = begin(stopsWhenAsked, 2 ** 31 + 1_000);
    clock.advance(2 ** 31);
    expect(attempt.stopped).toBe(false);
    clock.advance(1_000);
    expect(attempt.stopped).toBe(true);
    expect(reports).toEqual([]);
  });

  test('whose handler does not stop is abandoned, and known to return later', async () => {
    let finish: (result: HandlerResult) => void = () => undefined;
    const { attempt, reports, returned, clock } = begin(() => new Promise((resolve) => (finish = resolve)));
    attempt.stop({ code: 'cancelled', message: 'not wanted' });
    clock.advance(1_000 + abandonAfterGraceMs);
    expect(reports).toMatchObject([{ outcome: 'failed', reason: { code: 'HANDLER_DID_NOT_STOP' } }]);
    expect(returned()).toBe(0);
    finish(done('late'));
    await expect.poll(returned).toBe(1);
    expect(reports).toHaveLength(1);
  });

  test('that finishes its work although it was told to stop has completed', async () => {
    const { attempt, ended } = begin(
      (context) =>
        new Promise((resolve) => context.signal.addEventListener('abort', () => resolve(done('all the same')))),
    );
    attempt.stop({ code: 'cancelled', message: 'not wanted' });
    expect((await ended).outcome).toBe('completed');
  });

  test('gives its handler a folder, resources and progress', async () => {
    const { ended, progress } = begin((context) => {
      expect(existsSync(context.attemptDir)).toBe(true);
      expect(context.resources).toEqual({ cores: 2 });
      context.progress(50, 'half');
      return Promise.resolve(done(''));
    });
    await ended;
    expect(progress).toEqual([[50, 'half']]);
  });
});

test('folders of attempts that nobody knows are removed', async () => {
  for (const leaseId of ['known', 'unknown']) new AttemptFolder(root, { leaseId, attempt: 1 }, false).workDir();
  expect(await removeLeftFolders(root, [{ leaseId: 'known', attempt: 1 }])).toBe(1);
  expect(existsSync(join(root, 'known.1'))).toBe(true);
});

test('a payload type has one handler', () => {
  const handler = { type, run: () => Promise.resolve(done('')) } satisfies LeaseHandler as LeaseHandler;
  expect(createHandlerRegistry([handler]).payloadTypes).toEqual(['google.protobuf.StringValue']);
  expect(() => createHandlerRegistry([handler, handler])).toThrow(/register one handler/);
});

test('progress: the newest of each attempt, at most so often', () => {
  const clock = new ManualClock();
  let due = 0;
  const board = new ProgressBoard(clock, () => due++, 250);
  board.report({ leaseId: 'a', attempt: 1 }, 1, '');
  clock.advance(0);
  expect(due).toBe(1);
  board.take();
  for (let percent = 2; percent <= 50; percent++)
    board.report({ leaseId: 'a', attempt: 1 }, percent, 'x'.repeat(2_000));
  board.report({ leaseId: 'b', attempt: 1 }, 400, '');
  clock.advance(249);
  expect(due).toBe(1);
  clock.advance(1);
  expect(due).toBe(2);
  expect(board.take().map(({ leaseId, percent, message }) => [leaseId, percent, message.length])).toEqual([
    ['a', 50, 1_024],
    ['b', 100, 0],
  ]);
  expect(clock.pendingCalls).toBe(0);
});

test('a text is cut between characters', () => {
  expect(cutToBytes('äöü', 3)).toBe('ä');
  expect(cutToBytes('abc', 3)).toBe('abc');
});

describe('limits of progress', () => {
  test('an attempt without a sign of life is stopped and says which limit passed', async () => {
    const run = begin(stopsWhenAsked, undefined, { progressMsMax: 1_000 });
    run.attempt.progress(10);
    run.clock.advance(1_000);
    await run.attempt.log('step').write('a byte');
    run.clock.advance(1_000);
    expect(run.attempt.stopped).toBe(false);
    run.clock.advance(1_000);
    expect((await run.ended).reason?.code).toBe('NO_PROGRESS');
    expect((await run.ended).outcome).toBe('timed-out');
    expect(run.clock.pendingCalls).toBe(0);
  });
});

describe('an attempt that ends its own process', () => {
  test('hears that it goes down when that is persisted, and may then hand over', async () => {
    const run = begin(stopsWhenAsked, undefined, { resumable: true });
    expect(() => run.attempt.handOver()).toThrow(expect.objectContaining({ code: 'HAND_OVER_BEFORE_GOING_DOWN' }));
    const told = Promise.all([run.attempt.goingDown(), run.attempt.goingDown()]);
    expect(run.said).toEqual(['going-down']);
    run.attempt.toldGoingDown();
    await told;
    run.attempt.handOver();
    expect(run.said).toEqual(['going-down', 'hand-over']);
  });

  test('that is left tells no end, whatever its handler returns, and keeps no timer', async () => {
    const run = begin(stopsWhenAsked, 60_000, { resumable: true, progressMsMax: 60_000 });
    const reasons: unknown[] = [];
    run.attempt.signal.addEventListener('abort', () => reasons.push(run.attempt.signal.reason.code));
    const waiting = run.attempt.goingDown();
    expect(run.attempt.leave('bye')).toBe(true);
    await expect(waiting).rejects.toMatchObject({ code: 'ATTEMPT_ENDED' });
    await expect.poll(() => run.returned()).toBe(1);
    expect([run.reports, reasons, run.clock.pendingCalls]).toEqual([[], ['going-down'], 0]);
    expect(run.attempt.leave('again')).toBe(false);
  });

  test('a wait ends with its signal and with the attempt', async () => {
    const run = begin(stopsWhenAsked, undefined, { resumable: true });
    await expect(run.attempt.goingDown(AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
    const connected = run.attempt.connected();
    run.connected();
    await connected;
    const late = run.attempt.goingDown();
    run.attempt.stop({ code: 'cancelled', message: 'no' });
    await expect(late).rejects.toMatchObject({ code: 'ATTEMPT_ENDED' });
    await expect(run.attempt.goingDown()).rejects.toMatchObject({ code: 'ATTEMPT_ENDED' });
  });

  test('needs a handler that can resume', async () => {
    const run = begin(stopsWhenAsked);
    await expect(run.attempt.goingDown()).rejects.toMatchObject({ code: 'GOING_DOWN_NEEDS_RESUME' });
    run.attempt.stop({ code: 'cancelled', message: 'no' });
    await run.ended;
  });
});
