import { ManualClock, createTestLeaseContext, type TestLeaseContext } from '@drover/lease-kit/testing';
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createMachinePower, type MachinePowerOptions } from './machine-power.ts';
import { readPowerRecord, writePowerRecord } from './power-record.ts';

const shell = (line: string): string[] => ['/bin/sh', '-c', line];
const power = (options: Partial<MachinePowerOptions> = {}) =>
  createMachinePower({ change: 'restart', command: shell('exit 0'), ...options });
const goingDown = { code: 'going-down', message: 'the agent ends' } as const;

/** Resolves when the command has been given and the handler waits for its end. */
const commanded = (run: TestLeaseContext) => expect.poll(() => run.progress.at(-1)?.percent).toBe(75);

describe('going down', () => {
  test('keeps the boot id, says so to the server, keeps that the command may be given, and gives it, in that order', async () => {
    const seen: (string | undefined)[] = [];
    const noted = async (): Promise<void> => {
      const record = await readPowerRecord(run.context.attemptDir);
      seen.push(JSON.stringify(record));
    };
    await using run = await createTestLeaseContext({ goingDown: noted });
    const note = join(run.context.attemptDir, 'seen');
    const going = power({
      command: shell(`cp ${join(run.context.attemptDir, 'power.json')} ${note}; echo done`),
    }).goDown(run.context);
    await commanded(run);
    expect(seen).toEqual(['{"bootId":"test-boot"}']);
    expect(JSON.parse(readFileSync(note, 'utf8'))).toEqual({
      bootId: 'test-boot',
      commandedAtMs: expect.any(Number) as number,
    });
    run.stop(goingDown);
    await going;
  });

  test.each([
    [shell('echo not allowed >&2; exit 3'), 'RESTART_COMMAND_FAILED', /ended with exit code 3: not allowed/],
    [['/nowhere/reboot'], 'RESTART_COMMAND_NOT_STARTED', /cannot be started: .*ENOENT/],
    [shell('echo waits; sleep 60'), 'RESTART_COMMAND_TIMED_OUT', /did not end within 300 ms: waits/],
  ])('fails with what the command says: %s', async (command, code, message) => {
    await using run = await createTestLeaseContext();
    const outcome = await power({ command, commandLimitMs: 300 }).goDown(run.context);
    expect(outcome).toMatchObject({ kind: 'failed', code, message: expect.stringMatching(message) as string });
  });

  test('fails when the machine still runs long after the command', async () => {
    const clock = new ManualClock();
    await using run = await createTestLeaseContext({ clock });
    const going = power({ change: 'shutdown', downWithinMs: 90_000 }).goDown(run.context);
    await commanded(run);
    await expect.poll(() => clock.pendingCalls).toBe(1);
    clock.advance(90_000);
    expect(await going).toEqual({
      kind: 'failed',
      code: 'SHUTDOWN_NOT_HAPPENED',
      message: 'the command was given, and 90 s later the machine still runs',
    });
  });

  test('gives no command when it is cancelled before the server knows', async () => {
    await using run = await createTestLeaseContext({
      goingDown: (signal) =>
        new Promise((_, reject) => {
          signal!.addEventListener('abort', () => reject(new Error('aborted')));
        }),
    });
    const file = join(run.context.attemptDir, 'ran');
    const going = power({ command: shell(`touch ${file}`) }).goDown(run.context);
    await expect.poll(() => run.progress.length).toBe(1);
    run.stop({ code: 'cancelled', message: 'not today' });
    expect(await going).toEqual({
      kind: 'cancelled',
      code: 'RESTART_STOPPED',
      message: 'not today; it was stopped before the command was given',
    });
    expect(existsSync(file)).toBe(false);
  });

  test('a machine whose command is empty refuses', () => {
    expect(power({ command: [] }).refusal()).toMatchObject({ code: 'RESTART_DISABLED' });
    expect(power().refusal()).toBeUndefined();
  });
});

describe('taking up what an earlier process left', () => {
  /** What the process of the same machine, or of one that has started anew, finds. */
  async function left(record: Parameters<typeof writePowerRecord>[1] | undefined, bootId = 'test-boot') {
    const clock = new ManualClock(1_000_000);
    const run = await createTestLeaseContext({ clock, bootId });
    const { attemptDir } = run.context;
    if (record !== undefined) await writePowerRecord(attemptDir, record);
    return { run, clock };
  }

  test('a new boot id after the command is the proof, with how long it took', async () => {
    const { run } = await left({ bootId: 'old-boot', commandedAtMs: 940_000 });
    await using _ = run;
    expect(await power().takeUp(run.context)).toEqual({
      kind: 'started-anew',
      bootIdBefore: 'old-boot',
      bootIdAfter: 'test-boot',
      tookMs: 60_000,
    });
  });

  test('the same boot id is waited for as long as the machine may take, and no longer', async () => {
    const { run, clock } = await left({ bootId: 'test-boot', commandedAtMs: 990_000 });
    await using _ = run;
    const taken = power({ downWithinMs: 30_000 }).takeUp(run.context);
    await expect.poll(() => clock.pendingCalls).toBe(1);
    clock.advance(20_000);
    expect(await taken).toMatchObject({ kind: 'failed', code: 'RESTART_NOT_HAPPENED' });
  });

  test('what was not commanded yet is done now', async () => {
    for (const record of [undefined, { bootId: 'test-boot' }] as const) {
      const { run } = await left(record);
      await using _ = run;
      const file = join(run.context.attemptDir, 'ran');
      const taken = power({ command: shell(`touch ${file}`) }).takeUp(run.context);
      await commanded(run);
      expect([existsSync(file), run.leaving]).toEqual([true, 'going-down']);
      run.stop(goingDown);
      await taken;
    }
  });

  test('a record that cannot be read never gives the command: it may have been given, and would be for ever', async () => {
    for (const text of ['', '{"bootI', 'null', '{"commandedAtMs":1}']) {
      const { run } = await left(undefined, 'new-boot');
      await using _ = run;
      const { attemptDir } = run.context;
      await writeFile(join(attemptDir, 'power.json'), text);
      const file = join(attemptDir, 'ran');
      await expect(power({ command: shell(`touch ${file}`) }).takeUp(run.context)).rejects.toThrow(/is not whole/);
      expect(existsSync(file)).toBe(false);
    }
  });

  test('a machine that started anew before the command was restarted all the same, and is not shut down', async () => {
    const { run } = await left({ bootId: 'old-boot' });
    await using _ = run;
    const anew = { kind: 'started-anew', bootIdBefore: 'old-boot', bootIdAfter: 'test-boot' };
    expect(await power().takeUp(run.context)).toEqual(anew);
    expect(await power({ change: 'shutdown' }).takeUp(run.context)).toMatchObject({
      kind: 'failed',
      code: 'SHUTDOWN_NOT_COMMANDED',
    });
  });
});
