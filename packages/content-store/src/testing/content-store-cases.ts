import assert from 'node:assert/strict';
import { isDroverError } from '@drover/lease-kit';
import { collectBytes } from '../byte-source.ts';
import type { ContentStore } from '../content-store.ts';
import { digestOfBytes, emptyDigest, type Digest } from '../digest.ts';
import type { ComplianceCase } from './compliance-case.ts';
import { sampleBytes, sampleText } from './sample-bytes.ts';

const readAll = (store: ContentStore, digest: Digest): Promise<Uint8Array> =>
  collectBytes(store.read(digest), Number.MAX_SAFE_INTEGER);
const isThere = async (store: ContentStore, digest: Digest): Promise<boolean> =>
  (await store.findMissing([digest])).length === 0;
const rejectsWith = (promise: Promise<unknown>, code: string): Promise<void> =>
  assert.rejects(
    promise,
    (error) => isDroverError(error, code) || assert.fail(`${code} expected, got ${String(error)}`),
  );

async function* chunksOf(bytes: Uint8Array, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

/** What every {@link ContentStore} does. Each case wants an empty store of its own that has room for 32 MiB. */
export const contentStoreCases: readonly ComplianceCase<ContentStore>[] = [
  {
    name: 'gives back what was written, whatever the size',
    async run(store) {
      for (const sizeBytes of [1, 1000, 65_536, 262_145, 2 * 1024 * 1024 + 3]) {
        for (const bytes of [sampleBytes(sizeBytes), sampleText(sizeBytes)]) {
          const digest = digestOfBytes(bytes);
          assert.equal(await isThere(store, digest), false);
          await store.write(digest, bytes);
          assert.equal(await isThere(store, digest), true);
          assert.deepEqual(digestOfBytes(await readAll(store, digest)), digest);
        }
      }
    },
  },
  {
    name: 'has the empty blob without being given it',
    async run(store) {
      assert.deepEqual(await store.findMissing([emptyDigest]), []);
      assert.equal((await readAll(store, emptyDigest)).byteLength, 0);
      await store.write(emptyDigest, new Uint8Array(0));
    },
  },
  {
    name: 'takes every kind of source',
    async run(store) {
      const sources = [
        (bytes: Uint8Array) => chunksOf(bytes, 7000),
        (bytes: Uint8Array) => [bytes.subarray(0, 10), bytes.subarray(10)],
        (bytes: Uint8Array) => (offset: number) => chunksOf(bytes.subarray(offset), 70_000),
      ];
      for (const [seed, source] of sources.entries()) {
        for (const sizeBytes of [20_000, 2 * 1024 * 1024]) {
          const bytes = sampleBytes(sizeBytes, seed);
          await store.write(digestOfBytes(bytes), source(bytes));
          assert.deepEqual(digestOfBytes(await readAll(store, digestOfBytes(bytes))), digestOfBytes(bytes));
        }
      }
    },
  },
  {
    name: 'names each missing blob once',
    async run(store) {
      const [here, gone, other] = [1, 2, 3].map((seed) => sampleBytes(100, seed));
      await store.write(digestOfBytes(here!), here!);
      const asked = [gone!, here!, other!, gone!, here!].map(digestOfBytes);
      assert.deepEqual(await store.findMissing(asked), [digestOfBytes(gone!), digestOfBytes(other!)]);
      assert.deepEqual(await store.findMissing([]), []);
    },
  },
  {
    name: 'refuses bytes that do not match their digest, and keeps nothing of them',
    async run(store) {
      for (const sizeBytes of [100, 1024 * 1024]) {
        const bytes = sampleBytes(sizeBytes);
        const digest = digestOfBytes(bytes);
        const changed = Uint8Array.from(bytes);
        changed[sizeBytes - 1]! ^= 1;
        await rejectsWith(store.write(digest, changed), 'DIGEST_MISMATCH');
        await rejectsWith(store.write(digest, bytes.subarray(1)), 'DIGEST_MISMATCH');
        await rejectsWith(
          store.write(digest, chunksOf(Buffer.concat([bytes, bytes]), 60 + Math.floor(sizeBytes / 100))),
          'DIGEST_MISMATCH',
        );
        const wrongSize = { hash: digest.hash, sizeBytes: sizeBytes + 1 };
        await rejectsWith(store.write(wrongSize, bytes), 'DIGEST_MISMATCH');
        assert.equal((await store.findMissing([digest, wrongSize])).length, 2);
        await store.write(digest, bytes);
        assert.equal(await isThere(store, digest), true);
        assert.equal(await isThere(store, wrongSize), false);
      }
    },
  },
  {
    name: 'refuses malformed digests',
    async run(store) {
      const good = digestOfBytes(sampleBytes(10));
      const malformed = [
        { ...good, hash: good.hash.toUpperCase().replace(/[0-9]/g, 'A') },
        { ...good, hash: '../../etc/passwd' },
        { ...good, hash: good.hash.slice(2) },
        { ...good, sizeBytes: -1 },
        { ...good, sizeBytes: 1.5 },
      ];
      for (const digest of malformed) {
        await rejectsWith(store.findMissing([digest]), 'DIGEST_INVALID');
        await rejectsWith(store.write(digest, sampleBytes(10)), 'DIGEST_INVALID');
        await rejectsWith(readAll(store, digest), 'DIGEST_INVALID');
      }
    },
  },
  {
    name: 'reads parts, and says when there are none',
    async run(store) {
      for (const sizeBytes of [1000, 3 * 1024 * 1024]) {
        const bytes = sampleBytes(sizeBytes);
        const digest = digestOfBytes(bytes);
        await store.write(digest, bytes);
        const part = async (offset: number, limit?: number): Promise<Uint8Array> =>
          collectBytes(store.read(digest, limit === undefined ? { offset } : { offset, limit }), sizeBytes);
        for (const [offset, limit] of [
          [0, 10],
          [17, undefined],
          [990, 1_000_000],
          [5, 0],
          [sizeBytes, undefined],
        ] as const) {
          const expected = bytes.subarray(offset, limit === undefined ? undefined : offset + limit);
          assert.deepEqual(digestOfBytes(await part(offset, limit)), digestOfBytes(expected));
        }
        await rejectsWith(part(sizeBytes + 1), 'RANGE_INVALID');
        await rejectsWith(part(-1), 'RANGE_INVALID');
        await rejectsWith(part(0, -1), 'RANGE_INVALID');
      }
    },
  },
  {
    name: 'says so when a blob is not there',
    async run(store) {
      await rejectsWith(readAll(store, digestOfBytes(sampleBytes(10))), 'BLOB_NOT_FOUND');
      await rejectsWith(readAll(store, digestOfBytes(sampleBytes(4_000_000))), 'BLOB_NOT_FOUND');
    },
  },
  {
    name: 'takes one blob from several writers at once',
    async run(store) {
      for (const sizeBytes of [100, 2 * 1024 * 1024]) {
        const bytes = sampleBytes(sizeBytes);
        const digest = digestOfBytes(bytes);
        await Promise.all(Array.from({ length: 8 }, () => store.write(digest, chunksOf(bytes, 50_000))));
        await store.write(digest, bytes);
        assert.deepEqual(digestOfBytes(await readAll(store, digest)), digest);
      }
    },
  },
  {
    name: 'takes and gives many small blobs at once',
    async run(store) {
      const blobs = Array.from({ length: 200 }, (_, seed) => sampleBytes(1 + seed * 11, seed));
      await Promise.all(blobs.map((bytes) => store.write(digestOfBytes(bytes), bytes)));
      assert.deepEqual(await store.findMissing(blobs.map(digestOfBytes)), []);
      const read = await Promise.all(blobs.map((bytes) => readAll(store, digestOfBytes(bytes))));
      assert.deepEqual(read.map(digestOfBytes), blobs.map(digestOfBytes));
    },
  },
  {
    name: 'keeps nothing when the source fails, and passes its error on',
    async run(store) {
      for (const sizeBytes of [1000, 3 * 1024 * 1024]) {
        const bytes = sampleBytes(sizeBytes);
        const failing = async function* (): AsyncGenerator<Uint8Array> {
          yield bytes.subarray(0, sizeBytes - 1);
          throw new Error('the source broke');
        };
        await assert.rejects(store.write(digestOfBytes(bytes), failing()), /the source broke/);
        assert.equal(await isThere(store, digestOfBytes(bytes)), false);
      }
    },
  },
  {
    name: 'stops at once on abort, even if the source is silent',
    async run(store) {
      for (const sizeBytes of [1000, 3 * 1024 * 1024]) {
        const bytes = sampleBytes(sizeBytes);
        const controller = new AbortController();
        const silent = async function* (): AsyncGenerator<Uint8Array> {
          yield bytes.subarray(0, 500);
          queueMicrotask(() => controller.abort(new Error('stopped by the test')));
          await new Promise(() => undefined);
        };
        await assert.rejects(
          store.write(digestOfBytes(bytes), silent(), { signal: controller.signal }),
          /stopped by the test/,
        );
        assert.equal(await isThere(store, digestOfBytes(bytes)), false);
        await assert.rejects(store.findMissing([digestOfBytes(bytes)], { signal: controller.signal }), /stopped by/);
      }
    },
  },
  {
    name: 'lets a reader stop early, by itself or by abort',
    async run(store) {
      const bytes = sampleBytes(2 * 1024 * 1024);
      const digest = digestOfBytes(bytes);
      await store.write(digest, bytes);
      for await (const chunk of store.read(digest)) {
        assert.ok(chunk.byteLength > 0);
        break;
      }
      const controller = new AbortController();
      await assert.rejects(async () => {
        for await (const chunk of store.read(digest, { signal: controller.signal })) {
          assert.ok(chunk.byteLength > 0);
          controller.abort(new Error('stopped by the test'));
        }
      }, /stopped by the test/);
      assert.deepEqual(digestOfBytes(await readAll(store, digest)), digest);
    },
  },
];
