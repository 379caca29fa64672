import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { RetryPolicy } from '@drover/lease-kit';
import type { AttemptOutcome } from '../attempt-store.ts';
import type { SessionRef } from '../lease-queue.ts';
import { retryDecision } from '../retry-decision.ts';
import { storeLimits } from '../store-limits.ts';
import type { StoreCase } from './compliance-case.ts';
import {
  acceptanceOf,
  boundSample,
  claimAll,
  endOf,
  openSample,
  rejectsWith,
  sampleContext as context,
  sampleEntry,
  sampleJob,
  samplePayload,
  sampleSession,
} from './store-samples.ts';

const retrying: RetryPolicy = { attemptsMax: 2, after: ['lost'], onFailedWork: false, backoffMs: 0 };
const outcomes: readonly AttemptOutcome[] = ['completed', 'failed', 'timed-out', 'cancelled', 'lost', 'refused'];

/** What every attempt store does. */
export const attemptStoreCases: readonly StoreCase[] = [
  {
    name: 'gives the secrets of a lease to the session that has it, as long as it has it',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const other = await sampleSession(store, 'agent-2');
      const sealed = Uint8Array.of(1, 0, 255, 7);
      const job = sampleJob([{ retry: retrying }, {}], agent);
      const [first, second] = job.leases;
      assert.ok(first && second);
      await store.jobs.submit([{ ...job, leases: [{ ...first, secrets: sealed }, second] }], context);
      const key = { leaseId: first.draft.leaseId, attempt: 1 };
      const secretsOf = async (ref: SessionRef, more: object = {}) => {
        const found = await store.attempts.secretsOf({ ...key, ...more, ...ref }, context);
        return found && Uint8Array.from(found);
      };
      assert.deepEqual(await secretsOf(agent), sealed);
      assert.equal(await secretsOf(agent, { leaseId: second.draft.leaseId }), undefined);
      await rejectsWith(secretsOf(other), 'SESSION_FENCED');
      await rejectsWith(secretsOf({ ...agent, epoch: agent.epoch + 1 }), 'SESSION_FENCED');
      await rejectsWith(secretsOf(agent, { attempt: 2 }), 'SESSION_FENCED');
      await rejectsWith(secretsOf(agent, { leaseId: randomUUID() }), 'SESSION_FENCED');
      // They stay for the next attempt, and go with the lease.
      await store.attempts.record([endOf({ ...key, ...agent }, 'lost')], context);
      await rejectsWith(secretsOf(agent), 'SESSION_FENCED');
      await claimAll(store, [other]);
      assert.deepEqual(await secretsOf(other, { attempt: 2 }), sealed);
      await store.attempts.record([endOf({ ...key, attempt: 2, ...other }, 'completed')], context);
      await rejectsWith(secretsOf(other, { attempt: 2 }), 'SESSION_FENCED');
    },
  },
  {
    name: 'gives secrets to the session of now alone: an earlier one of the same agent is refused, though the attempt goes on',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const entry = sampleEntry({}, agent);
      const [attempt] = await store.queue.enqueue([{ ...entry, secrets: Uint8Array.of(9) }], context);
      assert.ok(attempt);
      const key = { leaseId: attempt.leaseId, attempt: 1 };
      await store.attempts.record([acceptanceOf(attempt)], context);
      // Another process of the machine, or the same one after a pause, proves the attempt and has it from now on.
      const { epoch } = await openSample(store, 'agent-1', { proven: [key] });
      assert.ok(epoch > agent.epoch);
      await rejectsWith(store.attempts.secretsOf({ ...agent, ...key }, context), 'SESSION_FENCED');
      const found = await store.attempts.secretsOf({ agentId: 'agent-1', epoch, ...key }, context);
      assert.deepEqual(found && [...found], [9]);
    },
  },
  {
    name: 'keeps the secrets of a lease that is enqueued by itself',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const entry = sampleEntry({}, agent);
      const secrets = Uint8Array.of(9);
      await store.queue.enqueue([sampleEntry(), { ...entry, secrets }], context);
      const found = await store.attempts.secretsOf({ ...agent, leaseId: entry.draft.leaseId, attempt: 1 }, context);
      assert.deepEqual(found && [...found], [9]);
    },
  },
  {
    name: 'persists acceptances and ends, and a repetition as if it were the first',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const attempt = await boundSample(store, agent);
      assert.equal((await store.jobs.lease(attempt.leaseId, context)).state, 'offered');
      for (let round = 0; round < 2; round += 1) {
        assert.deepEqual(await store.attempts.record([acceptanceOf(attempt)], context), [{ result: 'persisted' }]);
        assert.equal((await store.jobs.lease(attempt.leaseId, context)).state, 'accepted');
      }
      const output = samplePayload(9, 9);
      for (let round = 0; round < 2; round += 1) {
        assert.deepEqual(await store.attempts.record([endOf(attempt, 'completed', { output })], context), [
          { result: 'persisted', final: true },
        ]);
      }
      assert.deepEqual(await store.attempts.record([acceptanceOf(attempt)], context), [{ result: 'persisted' }]);
      const lease = await store.jobs.lease(attempt.leaseId, context);
      assert.equal(lease.state, 'ended');
      assert.equal(lease.succeeded, true);
      assert.equal(lease.output?.typeUrl, output.typeUrl);
      assert.deepEqual(Buffer.from(lease.output?.value ?? []), Buffer.from([9, 9]));
      assert.deepEqual(await store.attempts.boundTo(agent, context), []);
    },
  },
  {
    name: 'changes nothing for a write that is not of exactly the bound attempt',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const attempt = await boundSample(store, agent);
      const fenced = [
        { ...attempt, epoch: attempt.epoch + 1 },
        { ...attempt, epoch: attempt.epoch - 1 },
        { ...attempt, attempt: 2 },
        { ...attempt, agentId: 'agent-2' },
        { ...attempt, agentId: 'agent\0' },
        { ...attempt, leaseId: randomUUID() },
        { ...attempt, leaseId: 'nonsense' },
      ];
      const writes = fenced.flatMap((key) => [acceptanceOf(key), endOf(key)]);
      const results = await store.attempts.record(writes, context);
      assert.deepEqual(
        results,
        writes.map(() => ({ result: 'fenced' })),
      );
      assert.equal((await store.jobs.lease(attempt.leaseId, context)).state, 'offered');
    },
  },
  {
    name: 'never changes a persisted end',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const attempt = await boundSample(store, agent);
      await store.attempts.record([endOf(attempt, 'failed', { reason: { code: 'A', message: 'a' } })], context);
      assert.deepEqual(await store.attempts.record([endOf(attempt, 'completed')], context), [{ result: 'fenced' }]);
      const lease = await store.jobs.lease(attempt.leaseId, context);
      assert.equal(lease.succeeded, false);
      assert.deepEqual(
        lease.attempts.map(({ end }) => [end?.outcome, end?.reason]),
        [['failed', { code: 'A', message: 'a' }]],
      );
    },
  },
  {
    name: 'answers writes of many sessions in their order, contradicting and repeated ones included',
    async run({ store }) {
      const one = await sampleSession(store, 'agent-1');
      const two = await sampleSession(store, 'agent-2');
      const job = sampleJob([{}], one);
      const { assigned } = await store.jobs.submit([job], context);
      const [ofJob] = assigned;
      assert.ok(ofJob);
      const a = await boundSample(store, one);
      const b = await boundSample(store, two);
      const results = await store.attempts.record(
        [
          acceptanceOf(b),
          acceptanceOf(a),
          endOf(a, 'failed'),
          endOf(a, 'completed'),
          endOf(a, 'failed'),
          endOf({ ...b, epoch: 99 }),
          endOf(ofJob),
        ],
        context,
      );
      const persisted = { result: 'persisted' };
      assert.deepEqual(results, [
        persisted,
        persisted,
        { ...persisted, final: true },
        { result: 'fenced' },
        { ...persisted, final: true },
        { result: 'fenced' },
        { ...persisted, final: true, jobId: job.jobId },
      ]);
      assert.equal((await store.jobs.lease(b.leaseId, context)).state, 'accepted');
    },
  },
  {
    name: 'decides like retryDecision() what follows an end',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const policies: RetryPolicy[] = [
        { attemptsMax: 2, after: ['lost', 'failed'], onFailedWork: false, backoffMs: 0 },
        { attemptsMax: 1, after: ['lost', 'failed', 'timed-out'], onFailedWork: true, backoffMs: 0 },
        { attemptsMax: 3, after: ['timed-out'], onFailedWork: true, backoffMs: 0 },
        { attemptsMax: 20, after: ['lost', 'failed', 'timed-out'], onFailedWork: true, backoffMs: 5_000 },
        { attemptsMax: 20, after: [], onFailedWork: false, backoffMs: 5_000 },
      ];
      for (const retry of policies) {
        // All ends of a policy in one call: each of these calls is some milliseconds with a database.
        const cases = outcomes.flatMap((outcome) =>
          [undefined, true, false].flatMap((succeeded) =>
            [false, true].flatMap((noRetry) =>
              [false, true].map((cancelWished) => {
                const ended = { outcome, noRetry, ...(succeeded === undefined ? {} : { succeeded }) };
                return { job: sampleJob([{ retry }], agent), ended, cancelWished };
              }),
            ),
          ),
        );
        const { assigned } = await store.jobs.submit(
          cases.map(({ job }) => job),
          context,
        );
        const attempts = new Map(assigned.map((attempt) => [attempt.leaseId, attempt]));
        const attemptOf = ({ job }: (typeof cases)[number]) => attempts.get(job.leases[0]!.draft.leaseId)!;
        for (const { job, cancelWished } of cases) {
          if (cancelWished) await store.jobs.wishCancel(job.jobId, 'no longer', context);
        }
        const writes = cases.map((one) => endOf(attemptOf(one), one.ended.outcome, one.ended));
        const results = await store.attempts.record(writes, context);
        const records = new Map(
          (await store.jobs.jobs({ limit: cases.length }, context)).map((job) => [job.jobId, job]),
        );
        for (const [index, { job, ended, cancelWished }] of cases.entries()) {
          const expected = retryDecision(retry, { ...ended, cancelWished, attemptsCounted: 0 });
          const shown = JSON.stringify({ retry, ...ended, cancelWished });
          assert.deepEqual(results[index], { result: 'persisted', final: expected.final, jobId: job.jobId }, shown);
          const lease = records.get(job.jobId)?.leases[0];
          assert.equal(lease?.state, expected.final ? 'ended' : 'waiting', shown);
          assert.equal(lease.cancelWished, cancelWished, shown);
        }
      }
    },
  },
  {
    name: 'makes as many attempts as the policy allows, each later than the one before, refused ones not counted',
    async run({ store, elapse }) {
      const agent = await sampleSession(store, 'agent-1');
      const retry: RetryPolicy = { attemptsMax: 4, after: ['failed'], onFailedWork: false, backoffMs: 1_500_000 };
      let attempt = await boundSample(store, agent, { retry });
      let counted = 0;
      for (let number = 1; ; number += 1) {
        assert.equal(attempt.attempt, number);
        const outcome = number === 2 ? 'refused' : 'failed';
        const expected = retryDecision(retry, {
          outcome,
          noRetry: false,
          cancelWished: false,
          attemptsCounted: counted,
        });
        const [result] = await store.attempts.record([endOf(attempt, outcome)], context);
        assert.deepEqual(result, { result: 'persisted', final: expected.final });
        if (outcome !== 'refused') counted += 1;
        if (expected.final) break;
        const dueMs = (await store.queue.nextDueMs('job', context)) ?? 0;
        assert.ok(Math.abs(dueMs - expected.delayMs) < 5_000, `${dueMs} ms, expected ${expected.delayMs}`);
        await elapse(expected.delayMs + 1);
        const other = await sampleSession(store, `agent-${number + 1}`);
        const [next] = await claimAll(store, [other]);
        assert.ok(next);
        attempt = next;
      }
      assert.equal(counted, 4);
      const { attempts } = await store.jobs.lease(attempt.leaseId, context);
      assert.deepEqual(
        attempts.map(({ attempt: number, end }) => [number, end?.outcome]),
        [
          [1, 'failed'],
          [2, 'refused'],
          [3, 'failed'],
          [4, 'failed'],
          [5, 'failed'],
        ],
      );
      const first = await store.attempts.record([endOf({ ...attempt, attempt: 1, ...agent }, 'failed')], context);
      assert.deepEqual(first, [{ result: 'persisted', final: false }]);
    },
  },
  {
    name: 'lists what is bound to a session, and nothing of an earlier one',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const offered = await boundSample(store, agent);
      const accepted = await boundSample(store, agent);
      await boundSample(store, await sampleSession(store, 'agent-2'));
      await store.attempts.record([acceptanceOf(accepted)], context);
      const records = await store.attempts.boundTo(agent, context);
      assert.deepEqual(
        new Map(records.map((record) => [record.leaseId, [record.state, record.source, record.attempt, record.epoch]])),
        new Map([
          [offered.leaseId, ['offered', 'job', 1, agent.epoch]],
          [accepted.leaseId, ['accepted', 'job', 1, agent.epoch]],
        ]),
      );
      assert.deepEqual(await store.attempts.boundTo({ ...agent, epoch: agent.epoch + 1 }, context), []);
    },
  },
  {
    name: 'bounds outputs and cuts reasons to what can be stored',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const attempt = await boundSample(store, agent);
      const output = samplePayload();
      output.value = new Uint8Array(storeLimits.payloadBytesMax + 1);
      await rejectsWith(store.attempts.record([endOf(attempt, 'completed', { output })], context), 'PAYLOAD_TOO_LARGE');
      const message = `NUL \0 and ${'🐑'.repeat(5_000)}`;
      await store.attempts.record([endOf(attempt, 'failed', { reason: { code: 'X', message } })], context);
      const lease = await store.jobs.lease(attempt.leaseId, context);
      const kept = lease.attempts[0]?.end?.reason?.message ?? '';
      assert.ok(kept.startsWith('NUL \uFFFD and 🐑') && kept.endsWith('🐑'), kept);
      assert.ok(Buffer.byteLength(kept) <= storeLimits.messageBytesMax);
      const many = Array.from({ length: storeLimits.writesPerCallMax + 1 }, () => endOf(attempt));
      await rejectsWith(store.attempts.record(many, context), 'STORE_CALL_TOO_LARGE');
      assert.deepEqual(await store.attempts.record([], context), []);
    },
  },
  {
    name: 'takes the largest call',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const places = Array.from({ length: 1_000 }, () => agent);
      await store.queue.enqueue(
        places.map(() => sampleEntry()),
        context,
      );
      const attempts = await claimAll(store, places);
      assert.equal(attempts.length, 1_000);
      const ends = attempts.map((attempt, index) =>
        endOf(attempt, 'completed', { output: samplePayload(index % 256) }),
      );
      const results = await store.attempts.record([...attempts.map(acceptanceOf), ...ends], context);
      assert.ok(results.every(({ result }) => result === 'persisted'));
      const last = await store.jobs.lease(attempts[999]?.leaseId ?? '', context);
      assert.deepEqual(Buffer.from(last.output?.value ?? []), Buffer.from([999 % 256]));
    },
  },
];
