import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { StoreCase } from './compliance-case.ts';
import {
  acceptanceOf,
  boundSample,
  claimAll,
  endOf,
  rejectsWith,
  sampleContext as context,
  sampleEntry,
  sampleJob,
  samplePayload,
  sampleSession,
} from './store-samples.ts';

/** What every job store does. */
export const jobStoreCases: readonly StoreCase[] = [
  {
    name: 'stores a job with its leases, bound at once where a place was reserved',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const job = sampleJob([{ name: 'one' }, { name: 'two', requirements: { pool: 'p' }, priority: 4 }]);
      const [first, second] = job.leases;
      assert.ok(first && second);
      const leases = [{ ...first, bindTo: agent }, second];
      const submitted = await store.jobs.submit([{ ...job, leases }], context);
      assert.deepEqual(submitted.jobs, [{ jobId: job.jobId, repeated: false }]);
      assert.deepEqual(
        submitted.assigned.map(({ leaseId }) => leaseId),
        [first.draft.leaseId],
      );
      const record = await store.jobs.job(job.jobId, context);
      assert.deepEqual(
        { ...record, leases: record.leases.map(({ name, state, jobId }) => [name, state, jobId]) },
        {
          jobId: job.jobId,
          name: 'sample job',
          payloadType: 'drover.test.v1.Work',
          submitter: 'service:compliance',
          priority: 3,
          createdAtMs: record.createdAtMs,
          cancelWished: false,
          leases: [
            ['one', 'offered', job.jobId],
            ['two', 'waiting', job.jobId],
          ],
        },
      );
      const two = record.leases[1];
      assert.deepEqual([two?.requirements, two?.priority, two?.source, two?.attempts], [{ pool: 'p' }, 4, 'job', []]);
    },
  },
  {
    name: 'answers a repeated request with the job that it had made, for the same principal',
    async run({ store }) {
      const job = { ...sampleJob(), requestId: 'request' };
      await store.jobs.submit([job], context);
      const again = { ...sampleJob(), requestId: 'request' };
      const fresh = sampleJob();
      const repeated = await store.jobs.submit([again, fresh], context);
      assert.deepEqual(repeated.jobs, [
        { jobId: job.jobId, repeated: true },
        { jobId: fresh.jobId, repeated: false },
      ]);
      const same = await store.jobs.submit([job], context);
      assert.deepEqual(same.jobs, [{ jobId: job.jobId, repeated: true }]);
      const other = { ...sampleJob(), requestId: 'request' };
      const principal = { kind: 'user', id: 'somebody else' } as const;
      assert.deepEqual((await store.jobs.submit([other], { principal })).jobs, [
        { jobId: other.jobId, repeated: false },
      ]);
      assert.equal((await store.jobs.jobs({ limit: 10 }, context)).length, 3);
      await rejectsWith(store.jobs.job(again.jobId, context), 'JOB_NOT_FOUND');
    },
  },
  {
    name: 'stores all jobs of a call or none',
    async run({ store }) {
      const job = sampleJob();
      await store.jobs.submit([job], context);
      await rejectsWith(store.jobs.submit([sampleJob(), { ...sampleJob(), ...job }], context), 'JOB_EXISTS');
      const fresh = sampleJob();
      const taken = job.leases.map((lease) => ({ ...lease, jobId: fresh.jobId }));
      await rejectsWith(store.jobs.submit([sampleJob(), { ...fresh, leases: taken }], context), 'LEASE_EXISTS');
      await rejectsWith(store.jobs.submit([{ ...sampleJob(), leases: [] }], context), 'STORE_INPUT_INVALID');
      await rejectsWith(
        store.jobs.submit([{ ...sampleJob(), leases: [sampleEntry()] }], context),
        'STORE_INPUT_INVALID',
      );
      await rejectsWith(store.jobs.submit([{ ...sampleJob(), name: '\0' }], context), 'STORE_INPUT_INVALID');
      assert.equal((await store.jobs.jobs({ limit: 10 }, context)).length, 1);
      assert.equal((await store.jobs.liveLeases({ limit: 10 }, context)).length, 1);
    },
  },
  {
    name: 'refuses a lease id that has ended, for a whole submission',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const ended = await boundSample(store, agent);
      await store.attempts.record([endOf(ended)], context);
      const job = sampleJob([{ leaseId: ended.leaseId }]);
      await rejectsWith(store.jobs.submit([job], context), 'LEASE_EXISTS');
      await rejectsWith(store.jobs.job(job.jobId, context), 'JOB_NOT_FOUND');
    },
  },
  {
    name: 'finds a job by a prefix that only it has',
    async run({ store }) {
      const ids = ['aaaa1111-0000-4000-8000-000000000001', 'aaaa1111-0000-4000-8000-000000000002'];
      const jobs = ids.map((jobId) => {
        const job = sampleJob();
        return { ...job, jobId, leases: job.leases.map((lease) => ({ ...lease, jobId })) };
      });
      await store.jobs.submit(jobs, context);
      const other = sampleJob();
      await store.jobs.submit([other], context);
      await rejectsWith(store.jobs.job('aaaa', context), 'JOB_ID_AMBIGUOUS');
      await rejectsWith(store.jobs.job('aaaa1111-0000-4000-8000-00000000000', context), 'JOB_ID_AMBIGUOUS');
      assert.equal((await store.jobs.job(ids[1] ?? '', context)).jobId, ids[1]);
      assert.equal((await store.jobs.job(other.jobId.slice(0, 13), context)).jobId, other.jobId);
      await rejectsWith(store.jobs.job('aaa', context), 'STORE_INPUT_INVALID');
      await rejectsWith(store.jobs.job('zzzz', context), 'JOB_NOT_FOUND');
      await rejectsWith(store.jobs.job(randomUUID(), context), 'JOB_NOT_FOUND');
    },
  },
  {
    name: 'lists jobs newest first, page by page',
    async run({ store }) {
      const ids: string[] = [];
      for (let index = 0; index < 5; index += 1) {
        const job = sampleJob();
        ids.unshift(job.jobId);
        await store.jobs.submit([job], context);
      }
      const first = await store.jobs.jobs({ limit: 2 }, context);
      const second = await store.jobs.jobs({ limit: 2, before: first[1]?.jobId ?? '' }, context);
      const third = await store.jobs.jobs({ limit: 2, before: second[1]?.jobId ?? '' }, context);
      assert.deepEqual(
        [...first, ...second, ...third].map(({ jobId }) => jobId),
        ids,
      );
      assert.equal(first[0]?.leases.length, 1);
      await rejectsWith(store.jobs.jobs({ limit: 2, before: randomUUID() }, context), 'JOB_NOT_FOUND');
    },
  },
  {
    name: 'lists live leases in the order of their assignment, page by page, of one agent if asked',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const entries = [
        sampleEntry({ priority: 1, name: 'd' }, agent),
        sampleEntry({ priority: 7, name: 'a', requirements: { pool: 'x' } }),
        sampleEntry({ priority: 5, name: 'b' }, agent),
        sampleEntry({ priority: 5, name: 'c' }),
        sampleEntry({ priority: -5, name: 'e' }),
      ];
      for (const entry of entries) await store.queue.enqueue([entry], context);
      const names: string[] = [];
      let after: string | undefined;
      for (;;) {
        const page = await store.jobs.liveLeases({ limit: 2, ...(after ? { after } : {}) }, context);
        names.push(...page.map(({ name }) => name));
        after = page.at(-1)?.leaseId;
        if (page.length < 2) break;
      }
      assert.deepEqual(names, ['a', 'b', 'c', 'd', 'e']);
      const ofAgent = await store.jobs.liveLeases({ limit: 10, agentId: 'agent-1' }, context);
      assert.deepEqual(
        ofAgent.map(({ name, state }) => [name, state]),
        [
          ['b', 'offered'],
          ['d', 'offered'],
        ],
      );
      await rejectsWith(store.jobs.liveLeases({ limit: 2, after: randomUUID() }, context), 'LEASE_NOT_FOUND');
    },
  },
  {
    name: 'cancels a job: what waits ends, what is bound is told, and it is never tried again',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const retry = { attemptsMax: 9, after: ['lost', 'failed'] as const, onFailedWork: true, backoffMs: 60_000 };
      const job = sampleJob([
        { name: 'bound', retry },
        { name: 'delayed', retry },
        { name: 'waiting', retry },
      ]);
      const leases = job.leases.map((lease, index) => (index < 2 ? { ...lease, bindTo: agent } : lease));
      const { assigned } = await store.jobs.submit([{ ...job, leases }], context);
      const [bound, delayed] = assigned;
      assert.ok(bound && delayed);
      await store.attempts.record([acceptanceOf(bound), endOf(delayed, 'failed')], context);
      const wished = await store.jobs.wishCancel(job.jobId, 'changed my mind', context);
      assert.deepEqual(wished, [{ leaseId: bound.leaseId, attempt: 1, ...agent }]);
      assert.deepEqual(await store.jobs.wishCancel(job.jobId, 'again', context), wished);
      const record = await store.jobs.job(job.jobId, context);
      assert.equal(record.cancelWished, true);
      assert.deepEqual(
        record.leases.map(({ name, state, cancelWished, attempts }) => [name, state, cancelWished, attempts.length]),
        [
          ['bound', 'cancelling', true, 1],
          ['delayed', 'ended', true, 1],
          ['waiting', 'ended', true, 0],
        ],
      );
      const [shown] = await store.attempts.boundTo(agent, context);
      assert.deepEqual([shown?.state, shown?.cancelReason, shown?.jobId], ['cancelling', 'changed my mind', job.jobId]);
      // The agent was first: its acceptance is no error, its result is kept and the wish stays visible.
      assert.deepEqual(await store.attempts.record([acceptanceOf(bound)], context), [
        { result: 'persisted', jobId: job.jobId },
      ]);
      assert.deepEqual(await store.attempts.record([endOf(bound, 'failed')], context), [
        { result: 'persisted', final: true, jobId: job.jobId },
      ]);
      const lease = await store.jobs.lease(bound.leaseId, context);
      assert.deepEqual([lease.state, lease.cancelWished, lease.attempts[0]?.end?.outcome], ['ended', true, 'failed']);
      assert.deepEqual(await claimAll(store, [agent]), []);
      assert.equal(await store.queue.nextDueMs('job', context), undefined);
      await rejectsWith(store.jobs.wishCancel(randomUUID(), 'x', context), 'JOB_NOT_FOUND');
      await rejectsWith(store.jobs.wishCancel('nonsense', 'x', context), 'JOB_NOT_FOUND');
    },
  },
  {
    name: 'shows the newest progress of the current attempt',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const attempt = await boundSample(store, agent);
      const { leaseId } = attempt;
      const entry = { leaseId, attempt: 1, percent: 10, message: 'ten' };
      await store.jobs.recordProgress(
        [entry, { ...entry, percent: 20.4, message: 'twenty\0' }, { ...entry, attempt: 9 }, { ...entry, leaseId: 'x' }],
        context,
      );
      const shown = { percent: 20, message: 'twenty\uFFFD' };
      assert.deepEqual((await store.jobs.lease(leaseId, context)).progress, shown);
      await store.jobs.recordProgress([{ ...entry, percent: 900, message: '' }], context);
      assert.deepEqual((await store.jobs.lease(leaseId, context)).progress, { percent: 100, message: '' });
    },
  },
  {
    name: 'shows outputs of a job and a lease, not in a list, and says when a lease does not exist',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const job = sampleJob([{}], agent);
      const [attempt] = (await store.jobs.submit([job], context)).assigned;
      assert.ok(attempt);
      const end = endOf(attempt, 'completed', { output: samplePayload(4), succeeded: false });
      await store.attempts.record([end], context);
      const [lease] = (await store.jobs.job(job.jobId, context)).leases;
      assert.deepEqual([lease?.output?.value.length, lease?.succeeded], [1, false]);
      assert.ok((lease?.attempts[0]?.end?.atMs ?? 0) >= (lease?.attempts[0]?.assignedAtMs ?? Infinity));
      const [listed] = await store.jobs.jobs({ limit: 1 }, context);
      assert.equal(listed?.leases[0]?.output, undefined);
      await rejectsWith(store.jobs.lease(randomUUID(), context), 'LEASE_NOT_FOUND');
      await rejectsWith(store.jobs.lease('nonsense', context), 'LEASE_NOT_FOUND');
    },
  },
];
