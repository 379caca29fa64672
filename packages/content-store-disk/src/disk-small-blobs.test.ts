import { digestOfBytes, collectBytes } from '@drover/content-store';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createDiskContentStore } from './disk-content-store.ts';

async function withStore(
  work: (store: Awaited<ReturnType<typeof createDiskContentStore>>, directory: string) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'drover-small-'));
  try {
    await using store = await createDiskContentStore({ directory, sizeBytesMax: 1_000, bootId: 'this start' });
    await work(store, directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const bytes = (value: number, size = 300): Uint8Array => new Uint8Array(size).fill(value);

test('a small blob of a store that syncs nothing is read back, pinned or written again', () =>
  withStore(async (store, directory) => {
    const digest = digestOfBytes(bytes(1));
    await store.write(digest, bytes(1));
    expect(await store.pin([digest], { owner: 'me' })).toEqual([]);
    await Promise.all([store.write(digest, bytes(1)), store.write(digest, bytes(1))]);
    expect(await collectBytes(store.read(digest), 1_000)).toEqual(Buffer.from(bytes(1)));
    expect(await readdir(join(directory, 'uploads'))).toEqual([]);
    expect((await store.usage()).sizeBytes).toBe(300);
  }));

test('bytes of another digest are refused, and leave nothing', () =>
  withStore(async (store, directory) => {
    await expect(store.write(digestOfBytes(bytes(1)), bytes(2))).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    expect(await readdir(join(directory, 'uploads'))).toEqual([]);
    expect((await store.usage()).blobCount).toBe(0);
  }));

test('what was used least goes when the store is full, and pins are left', () =>
  withStore(async (store) => {
    const pinned = digestOfBytes(bytes(0));
    await store.write(pinned, bytes(0));
    await store.pin([pinned], { owner: 'me' });
    for (let value = 1; value < 8; value++) await store.write(digestOfBytes(bytes(value)), bytes(value));
    expect((await store.usage()).sizeBytes).toBeLessThanOrEqual(1_000);
    expect(await store.findMissing([pinned])).toEqual([]);
  }));
