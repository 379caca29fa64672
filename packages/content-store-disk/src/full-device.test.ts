import { digestOfBytes } from '@drover/content-store';
import { sampleBytes } from '@drover/content-store/testing';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { createDiskContentStore } from './index.ts';

/** A file system of 4 MiB, or why there is none. */
function mountSmallDevice(): { directory: string } | { reason: string } {
  const directory = mkdtempSync(join(tmpdir(), 'drover-full-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'drover-test', directory], { stdio: 'pipe' });
    return { directory };
  } catch (error) {
    rmSync(directory, { recursive: true });
    return { reason: error instanceof Error ? error.message.trim().split('\n').at(-1)! : String(error) };
  }
}

const device = mountSmallDevice();

if ('reason' in device) {
  test.skip(`a full device: needs the right to mount a tmpfs (${device.reason}) [limits:root-only]`, () => undefined);
} else {
  const { directory } = device;
  afterAll(() => {
    execFileSync('umount', [directory]);
    rmSync(directory, { recursive: true });
  });

  describe('a device that is smaller than the cap', () => {
    const [first, second, third] = [1, 2, 3].map((seed) => sampleBytes(1_500_000, seed));
    const huge = sampleBytes(5_000_000, 4);
    const open = () => createDiskContentStore({ directory, sizeBytesMax: 1024 ** 3 });

    test('makes room by removing what was used least recently', async () => {
      await using store = await open();
      for (const bytes of [first!, second!, third!]) await store.write(digestOfBytes(bytes), bytes);
      expect(await store.findMissing([third!, second!].map(digestOfBytes))).toEqual([]);
      expect(await store.findMissing([digestOfBytes(first!)])).toEqual([digestOfBytes(first!)]);
    });

    test('says that it is full when nothing more can go, and keeps nothing half-written', async () => {
      await using store = await open();
      const kept = [second!, third!].map(digestOfBytes);
      expect(await store.pin(kept, { owner: 'lease:1' })).toEqual([]);
      const full = { code: 'CONTENT_STORE_FULL', advice: 'exhausted' };
      await expect(store.write(digestOfBytes(first!), first!)).rejects.toMatchObject(full);
      await expect(store.write(digestOfBytes(huge), huge)).rejects.toMatchObject(full);
      expect(await store.findMissing(kept)).toEqual([]);
      expect(await store.findMissing([first!, huge].map(digestOfBytes))).toHaveLength(2);
      expect(await readdir(join(directory, 'uploads'))).toEqual([]);

      await store.unpin('lease:1');
      await store.write(digestOfBytes(first!), first!);
      expect(await store.findMissing([digestOfBytes(first!)])).toEqual([]);
    });
  });
}
