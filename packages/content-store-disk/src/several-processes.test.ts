import { collectBytes, digestOfBytes } from '@drover/content-store';
import { sampleBytes } from '@drover/content-store/testing';
import { systemClock } from '@drover/lease-kit';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createDiskContentStore } from './index.ts';

let directory: string;
const children: ChildProcess[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'drover-disk-'));
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(directory, { recursive: true, force: true });
});

function start(role: string, seed: number): ChildProcess {
  const file = join(import.meta.dirname, 'store-process.test.child.ts');
  const child = fork(file, [role, directory, String(seed)], { execArgv: ['--conditions=@drover/source'] });
  children.push(child);
  return child;
}

test('several processes write, pin and push out in one folder at once', { timeout: 60_000 }, async () => {
  const seeds = [1, 2, 3];
  const ends = await Promise.all(seeds.map((seed) => once(start('churn', seed), 'exit')));
  expect(ends).toEqual(seeds.map(() => [0, null]));

  await using store = await createDiskContentStore({ directory, sizeBytesMax: 4 * 1024 * 1024 });
  const pinned = seeds.flatMap((seed) =>
    Array.from({ length: 15 }, (_, round) => digestOfBytes(sampleBytes(30_000, seed * 1000 + 500 + round))),
  );
  expect(await store.findMissing(pinned)).toEqual([]);
  const all = (await readdir(join(directory, 'blobs'), { recursive: true })).filter((path) => path.includes('-'));
  for (const path of all) {
    const [hash, sizeBytes] = path.slice(path.lastIndexOf('/') + 1).split('-');
    const digest = { hash: hash!, sizeBytes: Number(sizeBytes) };
    expect(digestOfBytes(await collectBytes(store.read(digest), 200_000))).toEqual(digest);
  }
  const usage = await store.usage();
  expect(usage.pinnedBytes).toBe(45 * 30_000);
  // Each process may pass the cap by a twentieth of it and what it has under way.
  expect(usage.sizeBytes).toBeLessThan(4 * 1024 * 1024 * 1.2 + 3 * 280_000);
  expect(await readdir(join(directory, 'trash'))).toEqual([]);
  expect(await readdir(join(directory, 'uploads'))).toEqual([]);
});

test('a killed process leaves nothing that looks like a blob; its upload goes on elsewhere', async () => {
  const bytes = sampleBytes(1_000_000, 5);
  const digest = digestOfBytes(bytes);
  const child = start('stall', 5);
  await once(child, 'message');
  child.kill('SIGKILL');
  await once(child, 'exit');

  const sizeBytesMax = 4 * 1024 * 1024;
  await using store = await createDiskContentStore({ directory, sizeBytesMax });
  expect(await store.findMissing([digest])).toEqual([digest]);
  expect((await store.usage()).uploadCount).toBe(2);
  const upload = await store.openUpload('resumable', digest);
  expect(upload.committedBytes).toBe(600_000);
  await upload.append(bytes.subarray(600_000));
  await upload.commit();
  expect(digestOfBytes(await collectBytes(store.read(digest), 1_000_000))).toEqual(digest);

  const later = { ...systemClock, wallMs: () => Date.now() + 2 * 60 * 60 * 1000 };
  await using reopened = await createDiskContentStore({ directory, sizeBytesMax }, { clock: later });
  expect((await reopened.usage()).uploadCount).toBe(0);
  expect(await reopened.findMissing([digest])).toEqual([]);
});
