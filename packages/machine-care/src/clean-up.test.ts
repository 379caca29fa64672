import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createCleanUp, type CleanUpPlace } from './clean-up.ts';

const day = 86_400_000;
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'drover-clean-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const free = (): (() => void) => () => undefined;

/** A folder with one file, last changed so many days ago. */
function entry(name: string, daysAgo: number, bytes = 4_096): void {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'file'), Buffer.alloc(bytes, 1));
  const at = (Date.now() - daysAgo * day) / 1_000;
  for (const one of [join(path, 'file'), path]) utimesSync(one, at, at);
}

const place = (rest: Partial<CleanUpPlace>): CleanUpPlace => ({ name: 'things', folder, claim: free, ...rest });
const left = (): string[] => readdirSync(folder).sort();

test('what is old goes, and what is in use stays however old it is', async () => {
  entry('new', 1);
  entry('old', 20);
  entry('used', 30);
  entry('other.lock', 40);
  const released: string[] = [];
  const claim = (name: string) => (name === 'used' ? undefined : () => void released.push(name));
  await using cleanUp = createCleanUp({
    places: [place({ ageMaxMs: 14 * day, claim, accepts: (name) => !name.endsWith('.lock') })],
  });
  const [report] = await cleanUp.run();
  expect(report).toMatchObject({ removed: 1, kept: 1 });
  expect(report!.removedBytes).toBeGreaterThanOrEqual(4_096);
  expect(left()).toEqual(['new', 'other.lock', 'used']);
  expect(released).toEqual(['old']);
});

test('what cannot be removed does not keep all the rest', async () => {
  // Deeper than a path may be long, so that this holds for root as well.
  const deep = 'n=0; while [ $n -lt 25 ]; do d=$(printf %0200d $n); mkdir "$d"; cd "$d"; n=$((n+1)); done';
  for (const name of ['.drover-removing-left', 'a-stuck']) {
    mkdirSync(join(folder, name));
    execFileSync('/bin/sh', ['-c', deep], { cwd: join(folder, name) });
  }
  for (const child of readdirSync(join(folder, 'a-stuck'))) utimesSync(join(folder, 'a-stuck', child), 1, 1);
  utimesSync(join(folder, 'a-stuck'), 1, 1);
  entry('old', 20);
  await using cleanUp = createCleanUp({ places: [place({ ageMaxMs: 14 * day })] });
  expect((await cleanUp.run())[0]).toMatchObject({ removed: 1, kept: 1 });
  expect((await cleanUp.run())[0]).toMatchObject({ removed: 0, kept: 0 });
  expect(left().every((name) => name.startsWith('.drover-removing-'))).toBe(true);
  execFileSync('rm', ['-rf', ...left()], { cwd: folder });
});

test('beyond a size the least recently used go, and no more than needed', async () => {
  for (const [name, days] of [
    ['a', 5],
    ['b', 1],
    ['c', 9],
    ['d', 3],
  ] as const)
    entry(name, days, 1_000_000);
  await using cleanUp = createCleanUp({ places: [place({ sizeMaxBytes: 2_200_000 })] });
  await cleanUp.run();
  expect(left()).toEqual(['b', 'd']);
});

test('an entry in a folder that changes counts as used, though the folder does not change', async () => {
  entry('old', 20);
  writeFileSync(join(folder, 'old', 'file'), 'fresh');
  const at = (Date.now() - 20 * day) / 1_000;
  utimesSync(join(folder, 'old'), at, at);
  await using cleanUp = createCleanUp({ places: [place({ ageMaxMs: day })] });
  await cleanUp.run();
  expect(left()).toEqual(['old']);
});

test('a link goes by itself: what it leads to stays', async () => {
  const outside = await mkdtemp(join(tmpdir(), 'drover-outside-'));
  try {
    writeFileSync(join(outside, 'precious'), 'x'.repeat(100_000));
    symlinkSync(outside, join(folder, 'link'));
    await using cleanUp = createCleanUp({ places: [place({ sizeMaxBytes: 0 })] });
    await cleanUp.run();
    expect(left()).toEqual([]);
    expect(existsSync(join(outside, 'precious'))).toBe(true);
  } finally {
    await rm(outside, { recursive: true });
  }
});

test('when room is wanted, caches go by their age until there is enough, and nothing else does', async () => {
  mkdirSync(join(folder, 'cache'));
  mkdirSync(join(folder, 'records'));
  entry('cache/a', 3);
  entry('cache/b', 1);
  entry('cache/c', 2);
  entry('records/r', 9);
  await using cleanUp = createCleanUp({
    places: [
      place({ folder: join(folder, 'cache'), isCache: true }),
      place({ folder: join(folder, 'records'), ageMaxMs: 30 * day }),
    ],
  });
  const enough = () => Promise.resolve(!existsSync(join(folder, 'cache', 'c')));
  // One that is under way already knows nothing of the room that is wanted.
  const [, report] = await Promise.all([cleanUp.run(), cleanUp.run({ enough })]);
  expect(report[0]).toMatchObject({ removed: 2 });
  expect(readdirSync(join(folder, 'cache'))).toEqual(['b']);
  expect(readdirSync(join(folder, 'records'))).toEqual(['r']);
});

test('what a crash left half removed goes the next time, and a folder that is not there is clean', async () => {
  mkdirSync(join(folder, '.drover-removing-x'));
  await using cleanUp = createCleanUp({ places: [place({}), place({ folder: join(folder, 'none') })] });
  expect(await cleanUp.run()).toMatchObject([{ removed: 0 }, { removed: 0 }]);
  expect(left()).toEqual([]);
});
