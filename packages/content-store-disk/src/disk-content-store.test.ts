import {
  collectBytes,
  digestOfBytes,
  emptyDigest,
  formatDigest,
  type BlobCopies,
  type Digest,
  type LocalContentStore,
} from '@drover/content-store';
import { blobPinsCases, blobUploadsCases, contentStoreCases, sampleBytes } from '@drover/content-store/testing';
import { ManualClock } from '@drover/lease-kit/testing';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rename, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createDiskContentStore, type DiskContentStoreOptions } from './index.ts';

const mebibyte = 1024 * 1024;
const hour = 60 * 60 * 1000;

let directory: string;
let clock: ManualClock;
const opened: LocalContentStore[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'drover-disk-'));
  clock = new ManualClock(Date.now());
});
afterEach(async () => {
  for (const store of opened.splice(0)) await store[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

async function openStore(options: Partial<DiskContentStoreOptions> = {}): Promise<LocalContentStore & BlobCopies> {
  const store = await createDiskContentStore({ directory, sizeBytesMax: 64 * mebibyte, ...options }, { clock });
  opened.push(store);
  return store;
}
async function subject(
  options: Partial<DiskContentStoreOptions>,
): Promise<{ store: LocalContentStore; advanceMs(ms: number): void }> {
  return { store: await openStore(options), advanceMs: (ms) => clock.advance(ms) };
}
const blobFile = ({ hash, sizeBytes }: Digest): string =>
  join(directory, 'blobs', hash.slice(0, 2), hash.slice(2, 4), `${hash}-${sizeBytes}`);
const files = async (folder: string): Promise<string[]> => readdir(join(directory, folder));

describe('the disk store as a content store', () => {
  test.each(contentStoreCases)('$name', async ({ run }) => {
    await run(await openStore());
    expect(await files('uploads')).toEqual([]);
    expect(await files('trash')).toEqual([]);
  });
});
describe('the disk store as a place of uploads', () => {
  test.each(blobUploadsCases)('$name', async ({ run }) => {
    await run(await subject({ sizeBytesMax: 4 * mebibyte, uploadsMax: 3 }));
  });
});
describe('the disk store under its cap', () => {
  test.each(blobPinsCases)('$name', async ({ run }) => {
    await run(await subject({ sizeBytesMax: mebibyte, pinOwnersMax: 4 }));
    expect(await files('trash')).toEqual([]);
  });
});

test('what nobody has used or pinned for long goes when the store is opened, and daily', async () => {
  const [old, pinned, used] = [1, 2, 3].map((seed) => sampleBytes(1_000, seed)) as [Uint8Array, Uint8Array, Uint8Array];
  const digests = [old, pinned, used].map(digestOfBytes);
  const first = await openStore();
  for (const [index, bytes] of [old, pinned, used].entries()) await first.write(digests[index]!, bytes);
  await first.pin([digests[1]!], { owner: 'herd:1', expiresAfterMs: 1_000 * hour });
  clock.advance(15 * 24 * hour);
  await first.findMissing([digests[2]!]);
  const store = await openStore({ unusedMaxMs: 14 * 24 * hour });
  expect(await store.findMissing(digests)).toEqual([digests[0]]);
  for (let day = 0; day < 16; day++) clock.advance(24 * hour);
  await vi.waitFor(async () => expect((await store.usage()).blobCount).toBe(1));
  await store.unpin('herd:1');
});

test('a copy leads to nothing in the store, and replaces nothing', async () => {
  const store = await openStore();
  const bytes = sampleBytes(100_000, 1);
  const digest = digestOfBytes(bytes);
  await store.write(digest, bytes);
  const path = join(directory, 'copy');
  await store.copyTo(digest, path);
  expect(digestOfBytes(await readFile(path))).toEqual(digest);
  await writeFile(path, 'changed');
  expect(digestOfBytes(await readFile(blobFile(digest)))).toEqual(digest);
  await expect(store.copyTo(digest, path)).rejects.toMatchObject({ code: 'EEXIST' });
  const absent = digestOfBytes(sampleBytes(10, 2));
  await expect(store.copyTo(absent, join(directory, 'none'))).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' });
  await store.copyTo(emptyDigest, join(directory, 'empty'));
  expect(await files('.')).toEqual(expect.arrayContaining(['copy', 'empty']));
  expect(await files('.')).not.toContain('none');
});

describe('after a restart', () => {
  const blobs = Array.from({ length: 12 }, (_, seed) => sampleBytes(200_000, seed));
  const digests = blobs.map(digestOfBytes);

  test('blobs and pins are still there, and pins still hold', async () => {
    const before = await openStore({ sizeBytesMax: mebibyte });
    for (const index of [0, 1, 2]) await before.write(digests[index]!, blobs[index]!);
    await before.pin(digests.slice(0, 2), { owner: 'lease:7', expiresAfterMs: 10 * hour });
    await before[Symbol.asyncDispose]();

    clock.advance(hour);
    const after = await openStore({ sizeBytesMax: mebibyte });
    expect(await after.findMissing(digests.slice(0, 3))).toEqual([]);
    for (const index of [3, 4, 5, 6, 7]) await after.write(digests[index]!, blobs[index]!);
    expect(await after.findMissing(digests.slice(0, 3))).toEqual([digests[2]]);
    expect((await after.usage()).pinnedBytes).toBe(400_000);

    clock.advance(10 * hour);
    for (const index of [8, 9, 10, 11]) await after.write(digests[index]!, blobs[index]!);
    expect(await after.findMissing(digests.slice(0, 2))).toEqual(digests.slice(0, 2));
    expect(await files('pins')).toEqual([]);
  });

  test('an upload goes on', async () => {
    const before = await openStore();
    const upload = await before.openUpload('u', digests[0]!);
    await upload.append(blobs[0]!.subarray(0, 50_000));
    await before[Symbol.asyncDispose]();
    const after = await openStore();
    expect(await after.uploadStatus('u', digests[0]!)).toEqual({ committedBytes: 50_000, complete: false });
    const resumed = await after.openUpload('u', digests[0]!);
    expect(resumed.committedBytes).toBe(50_000);
    await resumed.append(blobs[0]!.subarray(50_000));
    await resumed.commit();
    expect(await after.findMissing([digests[0]!])).toEqual([]);
    expect(await files('uploads')).toEqual([]);
  });

  test('what a crash left is cleared when it is old, and not before', async () => {
    await openStore();
    await writeFile(join(directory, 'uploads/abc.dead.part'), 'half a blob');
    await openStore({ uploadIdleMs: hour });
    expect(await files('uploads')).toEqual(['abc.dead.part']);
    clock.advance(2 * hour);
    await openStore({ uploadIdleMs: hour });
    expect(await files('uploads')).toEqual([]);
  });

  test('a blob that a crash left between its place and its removal is back', async () => {
    const before = await openStore();
    await before.write(digests[0]!, blobs[0]!);
    const name = formatDigest(digests[0]!).replace('/', '-');
    await rename(blobFile(digests[0]!), join(directory, 'trash', `${name}.dead`));
    await writeFile(join(directory, 'trash/rubbish.dead'), '');
    clock.advance(hour);
    const after = await openStore();
    expect(await after.findMissing([digests[0]!])).toEqual([]);
    expect(await files('trash')).toEqual([]);
  });
});

describe('two openings of one folder', () => {
  const bytes = sampleBytes(300_000, 3);
  const digest = digestOfBytes(bytes);

  test('an upload that the other one takes over can not be completed by the first', async () => {
    const [first, second] = [await openStore(), await openStore()];
    const old = await first.openUpload('u', digest);
    await old.append(bytes.subarray(0, 100_000));
    const taker = await second.openUpload('u', digest);
    expect(taker.committedBytes).toBe(100_000);
    await old.append(bytes.subarray(100_000));
    await expect(old.commit()).rejects.toMatchObject({ code: 'UPLOAD_TAKEN_OVER' });
    await taker.append(bytes.subarray(100_000));
    await taker.commit();
    expect(digestOfBytes(await collectBytes(first.read(digest), mebibyte))).toEqual(digest);
  });

  test('a pin of the one holds against the other', async () => {
    const [first, second] = [await openStore({ sizeBytesMax: mebibyte }), await openStore({ sizeBytesMax: mebibyte })];
    await first.write(digest, bytes);
    await first.pin([digest], { owner: 'a', expiresAfterMs: 1000 * hour });
    for (let seed = 10; seed < 16; seed++) {
      clock.advance(hour);
      await second.write(digestOfBytes(sampleBytes(300_000, seed)), sampleBytes(300_000, seed));
    }
    expect(await second.findMissing([digest])).toEqual([]);
  });

  test('what the one used stays when the other makes room', async () => {
    const [first, second] = [await openStore({ sizeBytesMax: mebibyte }), await openStore({ sizeBytesMax: mebibyte })];
    const others = [20, 21].map((seed) => sampleBytes(300_000, seed));
    await first.write(digest, bytes);
    clock.advance(hour);
    for (const other of others) await second.write(digestOfBytes(other), other);
    clock.advance(hour);
    expect(await first.findMissing([digest])).toEqual([]);
    const last = sampleBytes(300_000, 22);
    await second.write(digestOfBytes(last), last);
    expect(await second.findMissing([digest])).toEqual([]);
    expect(await second.findMissing(others.map(digestOfBytes))).not.toEqual([]);
  });
});

test('a use is recorded, but not for every read', async () => {
  const store = await openStore({ accessResolutionMs: hour });
  const bytes = sampleBytes(100);
  const digest = digestOfBytes(bytes);
  await store.write(digest, bytes);
  const written = (await stat(blobFile(digest))).mtimeMs;
  clock.advance(hour / 2);
  await collectBytes(store.read(digest), 100);
  expect((await stat(blobFile(digest))).mtimeMs).toBe(written);
  clock.advance(hour);
  await collectBytes(store.read(digest), 100);
  expect((await stat(blobFile(digest))).mtimeMs).toBeCloseTo(clock.wallMs(), -1);
});

test('a damaged blob is not given to anyone, and can be written again', async () => {
  const store = await openStore();
  const bytes = sampleBytes(1000);
  const digest = digestOfBytes(bytes);
  await store.write(digest, bytes);
  await truncate(blobFile(digest), 500);
  await expect(collectBytes(store.read(digest), 1000)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' });
  await store.write(digest, bytes);
  await truncate(blobFile(digest), 0);
  expect(await store.findMissing([digest])).toEqual([digest]);
  expect(existsSync(blobFile(digest))).toBe(false);
});

test('a reader keeps a blob that is removed under it', async () => {
  const store = await openStore({ sizeBytesMax: mebibyte });
  const bytes = sampleBytes(900_000);
  await store.write(digestOfBytes(bytes), bytes);
  const reading = store.read(digestOfBytes(bytes))[Symbol.asyncIterator]();
  const first = await reading.next();
  clock.advance(hour);
  await store.write(digestOfBytes(sampleBytes(500_000, 1)), sampleBytes(500_000, 1));
  expect(existsSync(blobFile(digestOfBytes(bytes)))).toBe(false);
  const rest = [first.value as Uint8Array];
  for (let step = await reading.next(); step.done !== true; step = await reading.next()) rest.push(step.value);
  expect(digestOfBytes(Buffer.concat(rest))).toEqual(digestOfBytes(bytes));
});

test('the folder of something else is left alone', async () => {
  await writeFile(join(directory, 'format'), 'another program 7\n');
  await expect(openStore()).rejects.toMatchObject({ code: 'CONTENT_STORE_FORMAT' });
  expect(await readdir(directory)).toEqual(['format']);
});

test('a store that was disposed of says so', async () => {
  const store = await openStore();
  await store[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  const closed = { code: 'CONTENT_STORE_CLOSED' };
  await expect(store.findMissing([])).rejects.toMatchObject(closed);
  await expect(store.openUpload('u', digestOfBytes(sampleBytes(1)))).rejects.toMatchObject(closed);
});

test('pins of a lost process whose record never came are ended', async () => {
  const store = await openStore();
  const bytes = sampleBytes(1000);
  await store.write(digestOfBytes(bytes), bytes);
  await store.pin([digestOfBytes(bytes)], { owner: 'a' });
  const [folder] = await files('pins');
  const record = join(directory, 'pins', folder!, 'pin.json');
  expect(JSON.parse(await readFile(record, 'utf8'))).toMatchObject({ owner: 'a' });
  await rm(record);
  const now = clock.wallMs() / 1000;
  await utimes(join(directory, 'pins', folder!), now, now);
  expect((await store.usage()).pinnedBytes).toBe(1000);
  clock.advance(hour);
  expect((await store.usage()).pinnedBytes).toBe(0);
});

describe('a store for one start of the machine', () => {
  const bytes = sampleBytes(5_000);
  const digest = digestOfBytes(bytes);

  test('keeps its blobs when the process is another, and none when the machine was started anew', async () => {
    const first = await openStore({ bootId: 'one' });
    await first.write(digest, bytes);
    await first.pin([digest], { owner: 'job' });
    expect(await (await openStore({ bootId: 'one' })).findMissing([digest])).toEqual([]);
    const anew = await openStore({ bootId: 'two' });
    expect(await anew.findMissing([digest])).toEqual([digest]);
    await anew.write(digest, bytes);
    expect(await collectBytes(anew.read(digest), bytes.byteLength)).toEqual(bytes);
  });

  test('what was not synced is not taken for synced, and the reverse', async () => {
    const synced = await openStore();
    await synced.write(digest, bytes);
    expect(await (await openStore({ bootId: 'one' })).findMissing([digest])).toEqual([]);
    expect(await (await openStore()).findMissing([digest])).toEqual([digest]);
    expect(existsSync(join(directory, 'boot'))).toBe(false);
  });
});
