import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock } from '@drover/lease-kit/testing';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CareReason } from './care-reason.ts';
import { createDiskWatch, type DiskRoom, type WatchedFolder } from './disk-watch.ts';

const mib = 2 ** 20;
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'drover-disk-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('a real disk that fills up is a problem until there is room again [limits:needs-tmpfs]', async (context) => {
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'drover-test', folder]).status !== 0) context.skip();
  try {
    const told: (CareReason | undefined)[] = [];
    const folders = [{ name: 'state folder', path: folder, freeMin: { bytes: 2 * mib } }];
    using watch = createDiskWatch({ folders, everyMs: 3_600_000 }, { report: (problem) => told.push(problem) });
    await watch.start();
    expect(told).toEqual([]);
    writeFileSync(join(folder, 'half'), Buffer.alloc(5 * mib));
    await watch.look();
    expect(told).toEqual([]);
    writeFileSync(join(folder, 'more'), Buffer.alloc(2 * mib));
    await watch.look();
    const message = `the disk of the state folder ${folder} has 1mb free, at least 2mb is wanted`;
    expect(told).toEqual([{ code: 'DISK_SPACE_LOW', message }]);
    // A little more, and it stays low; it is told once.
    writeFileSync(join(folder, 'more'), Buffer.alloc(mib));
    await watch.look();
    writeFileSync(join(folder, 'more'), Buffer.alloc(0.75 * mib));
    await watch.look();
    expect(told).toHaveLength(1);
    rmSync(join(folder, 'more'));
    await watch.look();
    expect(told.slice(1)).toEqual([undefined]);
  } finally {
    spawnSync('umount', ['-l', folder]);
  }
});

describe('a disk', () => {
  const room = (free: number): DiskRoom => ({ bsize: 1, blocks: 1_000, bavail: free });
  const watched = (freeMin: WatchedFolder['freeMin']): WatchedFolder => ({ name: 'work folder', path: '/w', freeMin });

  test('is low by a share of its size, and well again with a quarter of that more', async () => {
    let free = 200;
    const told: (string | undefined)[] = [];
    const deps = {
      report: (problem: CareReason | undefined) => told.push(problem?.message),
      statfs: () => Promise.resolve(room(free)),
      clock: new ManualClock(),
    };
    using watch = createDiskWatch({ folders: [watched({ share: 0.1 })] }, deps);
    for (free of [200, 100, 99, 110, 124, 99, 125, 124, 100]) await watch.look();
    const low = 'the disk of the work folder /w has 99b free, at least 10 % (100b) is wanted';
    expect(told).toEqual([low, undefined]);
  });

  test('asked for nothing is never low', async () => {
    const told: unknown[] = [];
    const deps = { report: (problem: unknown) => told.push(problem), statfs: () => Promise.resolve(room(0)) };
    using watch = createDiskWatch({ folders: [watched({ bytes: 0 })] }, { ...deps, clock: new ManualClock() });
    await watch.look();
    expect(told).toEqual([]);
  });

  test('that does not answer, or fails, is a problem until it does', async () => {
    const clock = new ManualClock();
    let answer: () => Promise<DiskRoom> = () => new Promise(() => undefined);
    const told: (string | undefined)[] = [];
    const report = (problem: CareReason | undefined): void => void told.push(problem?.code);
    using watch = createDiskWatch({ folders: [watched({ bytes: 1 })] }, { report, clock, statfs: () => answer() });
    const looked = watch.look();
    clock.advance(5_000);
    await looked;
    answer = () => Promise.reject(new Error('EIO: i/o error'));
    await watch.look();
    answer = () => Promise.resolve(room(1));
    await watch.look();
    expect(told).toEqual(['DISK_UNRESPONSIVE', 'DISK_UNREADABLE', undefined]);
  });

  test('is looked at again and again until nobody wants to know', async () => {
    const clock = new ManualClock();
    let asked = 0;
    const statfs = (): Promise<DiskRoom> => (asked++, Promise.resolve(room(9)));
    const watch = createDiskWatch(
      { folders: [watched({ bytes: 1 })], everyMs: 100 },
      { report: () => {}, clock, statfs },
    );
    await watch.start();
    await watch.start();
    expect(asked).toBe(1);
    clock.advance(100);
    expect(asked).toBe(2);
    watch[Symbol.dispose]();
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(1_000);
    expect(asked).toBe(2);
  });
});
