import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@drover/lease-kit';
import { ManualClock } from '@drover/lease-kit/testing';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readBusyFile, removeBusyFile, writeBusyFile } from './busy-file.ts';
import { createBusyWatch, type BusyWatchDeps, type BusyWatchOptions } from './busy-watch.ts';
import { parseBusyWindow } from './busy-windows.ts';
import { createForeignLoad } from './foreign-load.ts';
import type { PresenceProbe } from './presence-probe.ts';
import { presenceProbes } from './presence-probes.ts';

let folder: string;
let file: string;
let clock: ManualClock;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'drover-busy-'));
  file = join(folder, 'busy');
  clock = new ManualClock();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function watching(options: Partial<BusyWatchOptions>, deps: Partial<BusyWatchDeps> = {}) {
  const told: (string | undefined)[] = [];
  const report: BusyWatchDeps['report'] = (reason) => void told.push(reason && `${reason.code}: ${reason.message}`);
  const watch = createBusyWatch({ file, everyMs: 1_000, ...options }, { report, clock, ...deps });
  /** Looks once for each second. */
  const pass = async (seconds: number): Promise<void> => {
    for (let second = 0; second < seconds; second += 1) {
      clock.advance(1_000);
      await watch.look();
    }
  };
  return { watch, told, pass };
}

describe('a wish', () => {
  test('makes the machine busy until its time is over or it is taken back', async () => {
    const { told, pass } = watching({});
    await pass(2);
    expect(await removeBusyFile(file)).toBe(false);
    await writeBusyFile(file, { untilMs: clock.wallMs() + 5_000, comment: 'a demo' });
    await pass(4);
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/^BUSY_LOCALLY: somebody needs the machine until \S+Z: a demo$/);
    await pass(2);
    await writeBusyFile(file, { comment: '' });
    await pass(10);
    expect(await removeBusyFile(file)).toBe(true);
    await pass(2);
    expect(told.slice(1)).toEqual([undefined, 'BUSY_LOCALLY: somebody needs the machine', undefined]);
  });

  test.each(['', '{', '7', '{"untilMs":"soon"}'])('that reads %j has no end', async (text) => {
    writeFileSync(file, text);
    expect(await readBusyFile(file, 0)).toEqual({ comment: '' });
  });
});

test('a machine is busy by the hour', async () => {
  const window = parseBusyWindow('mon-sun 00:00-24:00');
  const { told, watch } = watching({ windows: [window] });
  await watch.look();
  expect(told).toEqual(['BUSY_BY_SCHEDULE: the machine is not for leases on mon-sun 00:00-24:00']);
});

describe('a person', () => {
  let idleMs: number | undefined;
  const probe: PresenceProbe = { name: 'test', idleMs: () => Promise.resolve(idleMs) };
  const idle = { afterMs: 60_000 };

  test('who uses the machine makes it busy until nobody has for a while', async () => {
    const { told, pass } = watching({ idle }, { presence: [probe] });
    idleMs = 3_600_000;
    await pass(5);
    expect(told).toEqual([]);
    idleMs = 0;
    await pass(5);
    expect(told).toEqual(['BUSY_IN_USE: somebody uses the machine (test)']);
    // To and fro within the time: nothing is told.
    for (let turn = 0; turn < 10; turn += 1) {
      idleMs = 50_000;
      await pass(50);
      idleMs = 0;
      await pass(1);
    }
    expect(told).toHaveLength(1);
    idleMs = 120_000;
    await pass(59);
    expect(told).toHaveLength(1);
    await pass(1);
    expect(told.slice(1)).toEqual([undefined]);
  });

  test('who passes by does not', async () => {
    const { told, pass } = watching({ idle }, { presence: [probe] });
    for (let turn = 0; turn < 10; turn += 1) {
      idleMs = 0;
      await pass(1);
      idleMs = 5_000;
      await pass(1);
    }
    expect(told).toEqual([]);
  });

  test('is not looked for where nobody asks, or nothing tells', async () => {
    idleMs = 0;
    const none = watching({}, { presence: [probe] });
    await none.pass(5);
    idleMs = undefined;
    const failing: PresenceProbe = { name: 'broken', idleMs: () => Promise.reject(new Error('no bus')) };
    const dumb = watching({ idle }, { presence: [failing, probe] });
    await dumb.pass(5);
    expect([none.told, dumb.told]).toEqual([[], []]);
  });

  test('is one reason, the load of what others run is another', async () => {
    idleMs = undefined;
    let share = 0.9;
    const load = { take: () => share };
    const { told, pass } = watching({ idle: { ...idle, loadMax: 0.5 } }, { presence: [probe], load });
    await pass(2);
    const text = "BUSY_BY_LOAD: programs that are none of the agent's use more than 50 % of the cores";
    expect(told).toEqual([text]);
    share = 0.5;
    await pass(60);
    expect(told).toEqual([text, undefined]);
  });
});

describe('traces', () => {
  const never = new AbortController().signal;
  const probe = (name: string, said?: string): PresenceProbe => {
    const call = () => Promise.resolve(said);
    const all = presenceProbes({ clock, call, root: folder, env: { DISPLAY: ':0' } });
    return all.find((one) => one.name === name)!;
  };

  test.each([
    ['IdleHint=no\nIdleSinceHint=0', 0],
    ['IdleHint=yes\nIdleSinceHint=0', Infinity],
    ['nonsense', undefined],
    [undefined, undefined],
  ])('of logind: %j', async (said, wanted) => expect(await probe('logind', said).idleMs(never)).toBe(wanted));

  test('of logind: since when', async () => {
    clock.advance(100_000);
    const since = (clock.wallMs() - 7_000) * 1_000;
    expect(await probe('logind', `IdleSinceHint=${since}\nIdleHint=yes\n`).idleMs(never)).toBe(7_000);
  });

  test.each([
    ['1234\n', 1_234],
    ['no display', undefined],
  ])('of the screen: %j', async (said, wanted) => expect(await probe('xprintidle', said).idleMs(never)).toBe(wanted));

  test('of terminals: what was typed, not what was printed', async () => {
    expect(await probe('terminals').idleMs(never)).toBeUndefined();
    mkdirSync(join(folder, 'dev/pts'), { recursive: true });
    clock.advance(1_000_000);
    const second = (ago: number): number => (clock.wallMs() - ago) / 1_000;
    for (const [name, typed] of [
      ['pts/0', 60_000],
      ['tty1', 30_000],
      ['pts/ptmx', 0],
      ['ttyprintk', 0],
    ] as const) {
      writeFileSync(join(folder, 'dev', name), '');
      utimesSync(join(folder, 'dev', name), second(typed), second(0));
    }
    expect(await probe('terminals').idleMs(never)).toBeCloseTo(30_000, -1);
  });

  test('of keyboard and mouse: interrupts since the last look', async () => {
    const input = probe('input interrupts');
    expect(await input.idleMs(never)).toBeUndefined();
    mkdirSync(join(folder, 'proc'));
    const table = (count: number): string =>
      `           CPU0       CPU1\n  1:  ${count}  7  IO-APIC  1-edge  i8042\n 16: 9 9 eth0\n`;
    writeFileSync(join(folder, 'proc/interrupts'), table(5));
    expect(await input.idleMs(never)).toBe(Infinity);
    clock.advance(2_000);
    writeFileSync(join(folder, 'proc/interrupts'), table(6));
    expect(await input.idleMs(never)).toBe(0);
    clock.advance(3_000);
    expect(await input.idleMs(never)).toBe(3_000);
  });

  test('of this machine are asked without an error', async () => {
    for (const one of presenceProbes({ clock: systemClock })) {
      const idleMs = await one.idleMs(never);
      expect(idleMs === undefined || idleMs >= 0, one.name).toBe(true);
    }
  });
});

test('what a process and those below it use is not foreign; the same of another one is', async () => {
  // One that has a child which spins, one that sleeps.
  const spinning = spawn('/bin/sh', ['-c', 'while :; do :; done & wait'], { detached: true, stdio: 'ignore' });
  const sleeping = spawn('sleep', ['600'], { stdio: 'ignore' });
  try {
    const toSpinning = createForeignLoad('', spinning.pid);
    const toSleeping = createForeignLoad('', sleeping.pid);
    await expect
      .poll(() => (toSleeping.take() ?? 0) - (toSpinning.take() ?? 0), { timeout: 20_000, interval: 500 })
      .toBeGreaterThan(0.02);
  } finally {
    process.kill(-spinning.pid!, 'SIGKILL');
    await ended(spinning);
    sleeping.kill('SIGKILL');
    await ended(sleeping);
  }
  expect(createForeignLoad(folder).take()).toBeUndefined();
});

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}
