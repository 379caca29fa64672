import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { machineProcesses } from './agent-process.ts';
import { machineFiles, replaceFile } from './durable-files.ts';
import { openSupervisedHome } from './supervised-home.ts';
import { supervise } from './supervise.ts';
import { TestHome } from './supervised-agents.test.fixture.ts';
import { readStart, readSwitch, readWish } from './switch-record.ts';
import { currentVersion, makeCurrent } from './version-folders.ts';

/** A supervisor that runs in this process; disposing drains it. */
function supervised(home: TestHome) {
  const drain = new AbortController();
  const lines: string[] = [];
  const ended = supervise(
    {
      home: home.path,
      args: [],
      timing: { restartMinMs: 1, restartMaxMs: 10, killAfterMs: 300, leaveWithinMs: 100, lookMs: 50 },
    },
    { say: (line) => lines.push(line), drain: drain.signal, cancel: new AbortController().signal },
  );
  ended.catch(() => undefined);
  return {
    lines,
    ended,
    [Symbol.asyncDispose]: async () => {
      drain.abort();
      await ended.catch(() => undefined);
    },
  };
}

const until = (holds: () => boolean | Promise<boolean>): Promise<boolean> =>
  vi.waitUntil(holds, { timeout: 10_000, interval: 10 });

describe('a supervisor', () => {
  test('runs the current version, and starts it again when it crashes', async () => {
    await using home = new TestHome();
    await home.first();
    await using _ = supervised(home);
    await until(() => home.running().length === 1);
    await home.killAgents();
    await until(() => home.started().length === 2 && home.running().length === 1);
  });

  test('needs a current version', async () => {
    await using home = new TestHome();
    await expect(supervised(home).ended).rejects.toMatchObject({ code: 'VERSION_MISSING' });
  });

  test('is the only one of its folder', async () => {
    await using home = new TestHome();
    await home.first();
    await using _ = supervised(home);
    await until(() => home.running().length === 1);
    await expect(supervised(home).ended).rejects.toMatchObject({ code: 'SUPERVISOR_RUNS' });
  });

  test('switches when the agent that asked has ended, and ends one that does not', async () => {
    await using home = new TestHome();
    const first = await home.first();
    await using supervisor = supervised(home);
    await until(() => home.running().length === 1);
    await home.wish(await home.beside('2.0.0', 'good'));
    await until(async () => (await readSwitch(home.folder))?.phase === 'healthy');
    expect(home.running()).toEqual(['2.0.0']);
    expect(await readWish(home.folder)).toBeUndefined();
    expect(await readSwitch(home.folder)).toMatchObject({ id: 'lease/1', from: first, starts: 1 });
    expect(supervisor.lines.join('\n')).toContain('has not ended; it is ended');
  });

  test('goes back from a version that says nothing in time', async () => {
    await using home = new TestHome();
    const first = await home.first();
    await home.wish(await home.beside('2.0.0', 'mute'), 300);
    await using _ = supervised(home);
    await until(async () => (await readSwitch(home.folder))?.phase === 'rolled-back' && home.running().length === 1);
    expect((await readSwitch(home.folder))?.reason?.code).toBe('VERSION_NOT_HEALTHY_IN_TIME');
    expect(home.running()).toEqual(['1.0.0']);
    expect(await currentVersion(home.folder)).toBe(first);
  });

  test('starts a new version again that ended unseen before it was healthy', async () => {
    await using home = new TestHome();
    const from = await home.first();
    const to = await home.beside('2.0.0', 'good');
    // The supervisor before was killed with the new version on record, which waits to begin and ends with its supervisor.
    await makeCurrent(home.folder, machineFiles, to);
    const record = { id: 'lease/1', from, to, healthyWithinMs: 5_000, phase: 'proving', starts: 1 };
    await replaceFile(machineFiles, home.folder.switch, JSON.stringify(record));
    const held = await machineProcesses.start(['true'], {});
    await replaceFile(machineFiles, home.folder.start, JSON.stringify({ start: 'a', version: to, ...held.name }));
    await using supervisor = supervised(home);
    await until(() => supervisor.lines.join().includes('runs already'));
    held.signal('SIGKILL');
    await until(async () => (await readSwitch(home.folder))?.phase !== 'proving');
    expect(await readSwitch(home.folder)).toMatchObject({ phase: 'healthy', starts: 2 });
    expect(home.running()).toEqual(['2.0.0']);
  });

  test.each([
    ['a version that is not there', '3.0.0-0000000000000000', 'VERSION_MISSING'],
    ['the version that runs', '1.0.0-1000000000000000', 'VERSION_RUNS_ALREADY'],
  ])('does not switch to %s', async (_, to, code) => {
    await using home = new TestHome();
    await home.first();
    await home.wish(to);
    await using _supervisor = supervised(home);
    await until(() => home.running().length === 1);
    expect(await readSwitch(home.folder)).toMatchObject({ phase: 'rolled-back', reason: { code } });
    expect(home.started()).toEqual(['1.0.0']);
  });

  test('goes back from a version that cannot even be started', async () => {
    await using home = new TestHome();
    await home.first();
    const to = await home.beside('2.0.0', 'good');
    rmSync(join(home.folder.versions, to, 'bundle/run'));
    await home.wish(to);
    await using _ = supervised(home);
    await until(async () => (await readSwitch(home.folder))?.phase === 'rolled-back' && home.running().length === 1);
    expect(home.running()).toEqual(['1.0.0']);
  });

  test('reads over files that nobody of Drover wrote', async () => {
    await using home = new TestHome();
    await home.first();
    for (const file of [home.folder.wish, home.folder.switch, home.folder.start, home.folder.healthy]) {
      writeFileSync(file, '{"to":"../../evil');
    }
    await using _ = supervised(home);
    await until(() => home.running().length === 1);
  });
});

describe('an agent', () => {
  test('knows its supervisor by the start that it was given, and no other process does', async () => {
    await using home = new TestHome();
    const first = await home.first();
    await using _ = supervised(home);
    await until(async () => (await readStart(home.folder)) !== undefined && home.running().length === 1);
    const { start } = (await readStart(home.folder))!;
    const opened = await openSupervisedHome({ home: home.path, start });
    expect(opened.running).toMatchObject({ name: first, version: '1.0.0' });
    await expect(openSupervisedHome({ home: home.path, start: 'another' })).rejects.toMatchObject({
      code: 'NOT_SUPERVISED',
    });
  });

  test('takes its own wish back, and no other', async () => {
    await using home = new TestHome();
    await home.first();
    await using _ = supervised(home);
    await until(async () => (await readStart(home.folder)) !== undefined);
    const { start } = (await readStart(home.folder))!;
    const opened = await openSupervisedHome({ home: home.path, start });
    await opened.wishSwitch({ id: 'mine', to: '9.0.0-0', healthyWithinMs: 1 });
    await opened.withdraw('another');
    expect(await readWish(home.folder)).toMatchObject({ id: 'mine' });
    await opened.withdraw('mine');
    expect(await readWish(home.folder)).toBeUndefined();
  });
});
