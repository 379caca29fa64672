import assert from 'node:assert/strict';
import { isDroverError } from '@drover/lease-kit';
import type { BlobUploads } from '../blob-uploads.ts';
import { collectBytes } from '../byte-source.ts';
import type { ContentStore } from '../content-store.ts';
import { digestOfBytes } from '../digest.ts';
import type { ComplianceCase } from './compliance-case.ts';
import { sampleBytes } from './sample-bytes.ts';

/** What the cases of uploads act on. */
export interface BlobUploadsSubject {
  /** Empty, with room for 4 MiB, for 3 uploads, and keeping idle ones for 1 hour of the harness's clock. */
  readonly store: ContentStore & BlobUploads;
  /** Moves the store's clock on. */
  advanceMs(durationMs: number): void;
}

const rejectsWith = (promise: Promise<unknown>, code: string): Promise<void> =>
  assert.rejects(
    promise,
    (error) => isDroverError(error, code) || assert.fail(`${code} expected, got ${String(error)}`),
  );

const bytes = sampleBytes(300_000, 5);
const digest = digestOfBytes(bytes);

/** What every {@link BlobUploads} does. */
export const blobUploadsCases: readonly ComplianceCase<BlobUploadsSubject>[] = [
  {
    name: 'goes on where a suspended upload stopped',
    async run({ store }) {
      assert.equal(await store.uploadStatus('a', digest), undefined);
      {
        await using upload = await store.openUpload('a', digest);
        await upload.append(bytes.subarray(0, 100_000));
      }
      assert.deepEqual(await store.uploadStatus('a', digest), { committedBytes: 100_000, complete: false });
      assert.equal(await store.uploadStatus('b', digest), undefined);
      const upload = await store.openUpload('a', digest);
      assert.equal(upload.committedBytes, 100_000);
      await upload.append(bytes.subarray(100_000));
      assert.deepEqual(await store.findMissing([digest]), [digest]);
      await upload.commit();
      assert.deepEqual(await store.uploadStatus('a', digest), { committedBytes: 300_000, complete: true });
      assert.deepEqual(digestOfBytes(await collectBytes(store.read(digest), 300_000)), digest);
      await upload.discard();
      await upload.suspend();
      assert.deepEqual(await store.findMissing([digest]), []);
    },
  },
  {
    name: 'keeps uploads of different ids and of different blobs apart',
    async run({ store }) {
      const other = digestOfBytes(sampleBytes(100, 9));
      await using a = await store.openUpload('a', digest);
      await using b = await store.openUpload('b', digest);
      await using c = await store.openUpload('a', other);
      await a.append(bytes.subarray(0, 10));
      await b.append(bytes.subarray(0, 20));
      await c.append(sampleBytes(30, 9));
      assert.equal((await store.uploadStatus('a', digest))?.committedBytes, 10);
      assert.equal((await store.uploadStatus('b', digest))?.committedBytes, 20);
      assert.equal((await store.uploadStatus('a', other))?.committedBytes, 30);
    },
  },
  {
    name: 'begins again at 0 when asked to',
    async run({ store }) {
      const first = await store.openUpload('a', digest);
      await first.append(sampleBytes(50));
      const second = await store.openUpload('a', digest, { restart: true });
      assert.equal(second.committedBytes, 0);
      await second.append(bytes);
      await second.commit();
      assert.deepEqual(await store.findMissing([digest]), []);
    },
  },
  {
    name: 'lets only the newest handle go on',
    async run({ store }) {
      const old = await store.openUpload('a', digest);
      await old.append(bytes.subarray(0, 1000));
      const taker = await store.openUpload('a', digest);
      assert.equal(taker.committedBytes, 1000);
      await rejectsWith(old.append(bytes.subarray(1000, 2000)), 'UPLOAD_TAKEN_OVER');
      await rejectsWith(old.commit(), 'UPLOAD_TAKEN_OVER');
      await old.suspend();
      await old.discard();
      await taker.append(bytes.subarray(1000));
      await taker.commit();
      assert.deepEqual(await store.findMissing([digest]), []);
    },
  },
  {
    name: 'refuses bytes that do not match, and forgets the upload',
    async run({ store }) {
      const long = await store.openUpload('a', digest);
      await rejectsWith(long.append(Buffer.concat([bytes, bytes])), 'DIGEST_MISMATCH');
      assert.equal(await store.uploadStatus('a', digest), undefined);
      const short = await store.openUpload('a', digest);
      await short.append(bytes.subarray(1));
      await rejectsWith(short.commit(), 'DIGEST_MISMATCH');
      assert.equal(await store.uploadStatus('a', digest), undefined);
      assert.deepEqual(await store.findMissing([digest]), [digest]);
    },
  },
  {
    name: 'takes a blob that another upload completed first',
    async run({ store }) {
      const slow = await store.openUpload('a', digest);
      await slow.append(bytes);
      await store.write(digest, bytes);
      await slow.commit();
      assert.deepEqual(await store.findMissing([digest]), []);
    },
  },
  {
    name: 'bounds how many there are, and forgets idle ones',
    async run({ store, advanceMs }) {
      for (const id of ['a', 'b', 'c']) await (await store.openUpload(id, digest)).suspend();
      await rejectsWith(store.openUpload('d', digest), 'UPLOAD_LIMIT');
      await (await store.openUpload('a', digest)).discard();
      await (await store.openUpload('d', digest)).suspend();
      advanceMs(2 * 60 * 60 * 1000);
      const later = await store.openUpload('e', digest);
      assert.equal(await store.uploadStatus('b', digest), undefined);
      await later.append(bytes);
      await later.commit();
    },
  },
];
