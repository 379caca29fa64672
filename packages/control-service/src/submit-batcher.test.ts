import { randomUUID } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { createMemoryStore, type JobDraft, type StoreContext } from '@drover/lease-store';
import { expect, test } from 'vitest';
import { SubmitBatcher } from './submit-batcher.ts';

const context: StoreContext = { principal: { kind: 'user', id: 'tester' } };
const payload = create(AnySchema, { typeUrl: 'type.googleapis.com/x.Work', value: new Uint8Array(1) });

function job(requestId?: string, priority = 0): JobDraft {
  const jobId = randomUUID();
  const draft = {
    leaseId: randomUUID(),
    source: 'job',
    name: 'work',
    payload,
    requirements: {},
    priority,
    runLimitMs: 0,
    cancelGraceMs: 0,
    retry: { attemptsMax: 1, after: [], onFailedWork: false, backoffMs: 0 },
  };
  return { jobId, name: '', payload, priority, leases: [{ draft, jobId }], ...(requestId ? { requestId } : {}) };
}

function setUp() {
  const store = createMemoryStore();
  const sizes: number[] = [];
  const batcher = new SubmitBatcher({
    submit: async (drafts, call) => {
      sizes.push(drafts.length);
      // As a database would: other callers run before the answer is there.
      await new Promise((resolve) => setImmediate(resolve));
      return store.jobs.submit(drafts, call);
    },
  });
  return { store, sizes, batcher };
}

test('submissions that arrive during transactions share the next one, and each gets its own answer', async () => {
  const { batcher, sizes } = setUp();
  const jobs = Array.from({ length: 10 }, () => job());
  const answers = await Promise.all(jobs.map((draft) => batcher.submit([draft], context)));
  expect(sizes).toEqual([1, 1, 8]);
  expect(answers.map((answer) => answer.jobs[0]!.jobId)).toEqual(jobs.map(({ jobId }) => jobId));
});

test('one that the store refuses fails alone', async () => {
  const { batcher, store } = setUp();
  const jobs = [job(), job(), job(), job(undefined, 5_000), job()];
  const answers = await Promise.allSettled(jobs.map((draft) => batcher.submit([draft], context)));
  expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
  expect(await store.jobs.jobs({ limit: 10 }, context)).toHaveLength(4);
});

test('repetitions of one request, and other principals, do not share a transaction', async () => {
  const { batcher, sizes } = setUp();
  const other: StoreContext = { principal: { kind: 'user', id: 'other' } };
  const answers = await Promise.all([
    batcher.submit([job()], context),
    batcher.submit([job()], context),
    batcher.submit([job('r')], context),
    batcher.submit([job('r')], context),
    batcher.submit([job('r')], other),
  ]);
  expect(sizes).toEqual([1, 1, 1, 1, 1]);
  const ids = answers.map((answer) => answer.jobs[0]!.jobId);
  expect(ids[3]).toBe(ids[2]);
  expect(ids[4]).not.toBe(ids[2]);
});

test('one that was given up before its transaction is not stored', async () => {
  const { batcher, store } = setUp();
  const gone = new AbortController();
  const kept = [batcher.submit([job()], context), batcher.submit([job()], context)];
  const given = batcher.submit([job()], { ...context, signal: gone.signal });
  gone.abort(new Error('hung up'));
  await expect(given).rejects.toThrow('hung up');
  await Promise.all(kept);
  expect(await store.jobs.jobs({ limit: 10 }, context)).toHaveLength(2);
});
