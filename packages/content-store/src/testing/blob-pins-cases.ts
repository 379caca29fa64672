import assert from 'node:assert/strict';
import { isDroverError } from '@drover/lease-kit';
import { digestOfBytes, emptyDigest, type Digest } from '../digest.ts';
import type { LocalContentStore } from '../local-content-store.ts';
import type { ComplianceCase } from './compliance-case.ts';
import { sampleBytes } from './sample-bytes.ts';

/** What the cases of pins and removal act on. */
export interface BlobPinsSubject {
  /** Empty, with a cap of exactly 1 MiB and room for 4 owners of pins. */
  readonly store: LocalContentStore;
  /** Moves the store's clock on. */
  advanceMs(durationMs: number): void;
}

const hour = 60 * 60 * 1000;
const rejectsWith = (promise: Promise<unknown>, code: string): Promise<void> =>
  assert.rejects(
    promise,
    (error) => isDroverError(error, code) || assert.fail(`${code} expected, got ${String(error)}`),
  );

/** Writes blobs of 200 KB, of which five fit, one after the other in the clock's eyes. */
async function fill({ store, advanceMs }: BlobPinsSubject, seeds: readonly number[]): Promise<Digest[]> {
  const digests: Digest[] = [];
  for (const seed of seeds) {
    const bytes = sampleBytes(200_000, seed);
    advanceMs(hour);
    await store.write(digestOfBytes(bytes), bytes);
    digests.push(digestOfBytes(bytes));
  }
  return digests;
}

/** What every {@link LocalContentStore} does about its size and about pins. */
export const blobPinsCases: readonly ComplianceCase<BlobPinsSubject>[] = [
  {
    name: 'stays under its size by removing what was used least recently',
    async run(subject) {
      const { store, advanceMs } = subject;
      const blobs = await fill(subject, [1, 2, 3, 4, 5]);
      assert.deepEqual(await store.findMissing(blobs), []);
      advanceMs(hour);
      for await (const _ of store.read(blobs[0]!)) break;
      await store.findMissing([blobs[1]!]);
      await fill(subject, [6]);
      const missing = await store.findMissing(blobs);
      assert.ok(missing.some(({ hash }) => hash === blobs[2]!.hash));
      assert.ok(!missing.some(({ hash }) => hash === blobs[0]!.hash || hash === blobs[1]!.hash));
      const usage = await store.usage();
      assert.ok(usage.sizeBytes <= 1024 * 1024 && usage.sizeBytesMax === 1024 * 1024);
      assert.equal(usage.sizeBytes, usage.blobCount * 200_000);
    },
  },
  {
    name: 'never removes what is pinned, and is full when nothing else is there',
    async run(subject) {
      const { store } = subject;
      const pinned = await fill(subject, [1, 2, 3, 4]);
      assert.deepEqual(
        await store.pin([...pinned, emptyDigest], { owner: 'lease:1', expiresAfterMs: 1000 * hour }),
        [],
      );
      await fill(subject, [5, 6, 7]);
      assert.deepEqual(await store.findMissing(pinned), []);
      assert.equal((await store.usage()).pinnedBytes, 800_000);
      await rejectsWith(store.write(digestOfBytes(sampleBytes(300_000)), sampleBytes(300_000)), 'CONTENT_STORE_FULL');
      assert.deepEqual(await store.findMissing(pinned), []);
      assert.equal((await store.usage()).uploadCount, 0);
      await store.unpin('lease:1');
      await store.unpin('lease:1');
      await store.write(digestOfBytes(sampleBytes(300_000)), sampleBytes(300_000));
      assert.equal((await store.usage()).pinnedBytes, 0);
    },
  },
  {
    name: 'keeps a blob until its last owner lets go',
    async run(subject) {
      const { store } = subject;
      const [blob] = await fill(subject, [1]);
      await store.pin([blob!], { owner: 'a', expiresAfterMs: 1000 * hour });
      await store.pin([blob!], { owner: 'b', expiresAfterMs: 1000 * hour });
      await store.unpin('a');
      await fill(subject, [2, 3, 4, 5, 6, 7]);
      assert.deepEqual(await store.findMissing([blob!]), []);
      await store.unpin('b');
      await fill(subject, [8, 9, 10, 11, 12, 13]);
      assert.deepEqual(await store.findMissing([blob!]), [blob!]);
    },
  },
  {
    name: 'adds to the pins of an owner, and names what it could not pin',
    async run(subject) {
      const { store } = subject;
      const [first, second] = await fill(subject, [1, 2]);
      const absent = digestOfBytes(sampleBytes(10, 99));
      assert.deepEqual(await store.pin([first!, absent, absent], { owner: 'a', expiresAfterMs: 1000 * hour }), [
        absent,
      ]);
      assert.deepEqual(await store.pin([first!, second!], { owner: 'a', expiresAfterMs: 1000 * hour }), []);
      await fill(subject, [3, 4, 5, 6, 7, 8]);
      assert.deepEqual(await store.findMissing([first!, second!]), []);
    },
  },
  {
    name: 'ends pins that have expired',
    async run(subject) {
      const { store, advanceMs } = subject;
      const [blob, renewed] = await fill(subject, [1, 2]);
      await store.pin([blob!], { owner: 'a', expiresAfterMs: 10 * hour });
      await store.pin([renewed!], { owner: 'b', expiresAfterMs: 10 * hour });
      await store.pin([], { owner: 'b', expiresAfterMs: 1000 * hour });
      advanceMs(11 * hour);
      await fill(subject, [3, 4, 5, 6, 7]);
      assert.deepEqual(await store.findMissing([blob!, renewed!]), [blob!]);
    },
  },
  {
    name: 'bounds the owners',
    async run(subject) {
      const { store } = subject;
      const [blob] = await fill(subject, [1]);
      for (const owner of ['a', 'b', 'c', 'd']) await store.pin([blob!], { owner });
      await rejectsWith(store.pin([blob!], { owner: 'e' }), 'PIN_LIMIT');
      await store.pin([blob!], { owner: 'a' });
      await store.unpin('b');
      await store.pin([blob!], { owner: 'e' });
    },
  },
  {
    name: 'refuses a blob above its largest',
    async run({ store }) {
      const digest = { hash: 'a'.repeat(64), sizeBytes: store.blobSizeBytesMax + 1 };
      await rejectsWith(store.write(digest, new Uint8Array(1)), 'BLOB_TOO_LARGE');
    },
  },
];
