import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import {
  acceptanceOf,
  claimAll,
  endOf,
  openSample,
  sampleContext as context,
  sampleEntry,
  sampleJob,
  sampleSession,
} from '@drover/lease-store/testing';
import { nextMessage, startFixture } from './child-process.test.fixture.ts';
import { freshSchema, type FreshSchema } from './fresh-schema.test.fixture.ts';

let fresh: FreshSchema;
beforeAll(async () => {
  fresh = await freshSchema();
});
afterEach(() => fresh.empty());
afterAll(() => fresh[Symbol.asyncDispose]());

const leasesOf = async () =>
  (await fresh.pool.query(`select count(*)::int as live from ${fresh.schema}.leases`)).rows[0]?.live as number;
const historyOf = async () =>
  (await fresh.pool.query(`select lease_id, attempt from ${fresh.schema}.lease_history`)).rows as unknown[];

test('three processes claim each lease once', async () => {
  const store = fresh.store();
  const count = 600;
  for (let from = 0; from < count; from += 200) {
    const entries = Array.from({ length: 200 }, (_, index) =>
      sampleEntry({ priority: index % 3, requirements: { pool: `p${index % 4}` } }),
    );
    await store.queue.enqueue(entries, context);
  }
  const processes = [1, 2, 3].map((number) =>
    startFixture('claimer.test.fixture.ts', [fresh.schema, `agent-${number}`]),
  );
  const claimed = (await Promise.all(processes.map((child) => nextMessage<string[]>(child)))).flat();
  expect(claimed).toHaveLength(count);
  expect(new Set(claimed).size).toBe(count);
  expect(await historyOf()).toHaveLength(count);
  expect(await leasesOf()).toBe(0);
});

test('a process killed at any moment leaves each of its leases either bound or ended, and the sweep frees them', async () => {
  const store = fresh.store();
  const retry = { attemptsMax: 5, after: ['lost'] as const, onFailedWork: false, backoffMs: 0 };
  const count = 300;
  await store.queue.enqueue(
    Array.from({ length: count }, () => sampleEntry({ retry })),
    context,
  );
  for (let round = 0; round < 3; round += 1) {
    const child = startFixture('claimer.test.fixture.ts', [fresh.schema, `killed-${round}`, 'forever']);
    await nextMessage(child);
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  await fresh.elapse(60_000);
  const lost = await store.sessions.sweep({ serverTtlMs: 10_000, graceMs: 10_000 }, context);
  expect(lost.every(({ final }) => !final)).toBe(true);
  const session = await sampleSession(store, 'survivor');
  let ended = 0;
  for (;;) {
    const attempts = await claimAll(
      store,
      Array.from({ length: 100 }, () => session),
    );
    if (attempts.length === 0) break;
    ended += attempts.length;
    await store.attempts.record(
      attempts.map((attempt) => endOf(attempt)),
      context,
    );
  }
  expect(ended).toBeGreaterThanOrEqual(lost.length);
  expect(await leasesOf()).toBe(0);
  expect(await historyOf()).toHaveLength(count);
});

test('a claim that races with a new session binds nothing to the old epoch', async () => {
  const store = fresh.store();
  const retry = { attemptsMax: 20, after: ['lost'] as const, onFailedWork: false, backoffMs: 0 };
  await store.queue.enqueue(
    Array.from({ length: 50 }, () => sampleEntry({ retry })),
    context,
  );
  let session = await sampleSession(store, 'agent-1');
  for (let round = 0; round < 40; round += 1) {
    const classes = await store.queue.waitingClasses('job', context);
    const request = { source: 'job', classIds: classes.map(({ classId }) => classId), places: Array(5).fill(session) };
    const bound = sampleEntry({ retry }, session);
    const [claimed, opened, enqueued] = await Promise.all([
      store.queue.claim(request, context),
      openSample(store, 'agent-1'),
      store.queue.enqueue([bound], context),
    ]);
    session = { agentId: 'agent-1', epoch: opened.epoch };
    // What was bound to the old epoch was there when the session was replaced, and ended then.
    const old = [...claimed, ...enqueued].map(({ leaseId }) => leaseId).sort();
    expect(opened.lost.map(({ leaseId }) => leaseId).sort()).toEqual(old);
    const { rows } = await fresh.pool.query(`select epoch from ${fresh.schema}.leases where agent_id is not null`);
    expect(rows).toEqual([]);
  }
});

test('writes, cancels and new sessions that meet on the same leases neither deadlock nor lose an end', async () => {
  const store = fresh.store();
  const retry = { attemptsMax: 3, after: ['lost', 'failed'] as const, onFailedWork: false, backoffMs: 0 };
  for (let round = 0; round < 15; round += 1) {
    const agentId = `agent-${round}`;
    const session = await sampleSession(store, agentId);
    const job = sampleJob(
      Array.from({ length: 30 }, () => ({ retry })),
      session,
    );
    const { assigned } = await store.jobs.submit([job], context);
    const accepted = assigned.map(acceptanceOf);
    const ends = assigned.map((attempt, index) => endOf(attempt, index % 2 === 0 ? 'failed' : 'completed'));
    const shuffled = [...ends].reverse();
    const [, first, second] = await Promise.all([
      store.attempts.record(accepted, context),
      store.attempts.record(ends, context),
      store.attempts.record(shuffled, context),
      store.jobs.wishCancel(job.jobId, 'no longer', context),
      openSample(store, agentId, { proven: assigned.slice(0, 10) }),
    ]);
    const persisted = first.map((result, index) => [result.result, second[29 - index]?.result]);
    const { leases } = await store.jobs.job(job.jobId, context);
    for (const [index, attempt] of assigned.entries()) {
      const lease = leases.find(({ leaseId }) => leaseId === attempt.leaseId);
      const outcomes = lease?.attempts.map(({ end }) => end?.outcome) ?? [];
      // Both calls agree, and what they were told is what is stored.
      expect(new Set(persisted[index]).size).toBe(1);
      const wanted = index % 2 === 0 ? 'failed' : 'completed';
      expect(outcomes.includes(wanted)).toBe(persisted[index]?.[0] === 'persisted');
      expect(['ended', 'cancelling']).toContain(lease?.state);
    }
  }
});

test('one class that several processes make at once is one class', async () => {
  const stores = Array.from({ length: 4 }, () => fresh.store());
  for (let round = 0; round < 10; round += 1) {
    const requirements = { pool: `pool-${round}` };
    await Promise.all(stores.map((store) => store.queue.enqueue([sampleEntry({ requirements })], context)));
  }
  const classes = await stores[0]?.queue.waitingClasses('job', context);
  expect(classes).toHaveLength(10);
});
