import assert from 'node:assert/strict';
import type { AbsenceGrant, AssignedAttempt } from '@drover/lease-kit';
import type { AttemptWrite } from '../attempt-store.ts';
import type { DroverStore } from '../drover-store.ts';
import type { SessionRef } from '../lease-queue.ts';
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
  sampleSession,
} from './store-samples.ts';

const limits = { serverTtlMs: 10_000, graceMs: 20_000 };
const restart: AbsenceGrant = { msMax: 60_000, then: 'failed' };
const shutdown: AbsenceGrant = { msMax: 60_000, then: 'completed' };

async function accepted(
  store: DroverStore,
  agent: SessionRef,
  absence: AbsenceGrant,
  goingDown = false,
): Promise<AssignedAttempt> {
  const attempt = await boundSample(store, agent, { absence });
  const [result] = await store.attempts.record([goingDown ? goingDownOf(attempt) : acceptanceOf(attempt)], context);
  assert.equal(result?.result, 'persisted');
  return attempt;
}

function goingDownOf({ leaseId, attempt, agentId, epoch }: AssignedAttempt): AttemptWrite {
  return { kind: 'acceptance', goingDown: true, leaseId, attempt, agentId, epoch };
}

async function endOfLease(store: DroverStore, leaseId: string) {
  const { state, attempts, succeeded } = await store.jobs.lease(leaseId, context);
  const end = attempts.at(-1)?.end;
  return { state, outcome: end?.outcome, code: end?.reason?.code, succeeded };
}

/** What every store does about agents that are away, about drains, and about leases whose time is over. */
export const absenceCases: readonly StoreCase[] = [
  {
    name: 'hands out what a lease grants and limits, with each attempt and to each session',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const terms = { absence: restart, timeouts: { startMsMax: 1_000, progressMsMax: 2_000, leaseMsMax: 3_000 } };
      const bound = await boundSample(store, agent, terms);
      assert.deepEqual([bound.absence, bound.timeouts], [terms.absence, terms.timeouts]);
      const entries = [sampleEntry(terms), sampleEntry(terms), sampleEntry()];
      const ids = new Set(entries.slice(0, 2).map(({ draft }) => draft.leaseId));
      await store.queue.enqueue(entries, context);
      for (const claimed of await claimAll(store, [agent, agent, agent])) {
        const expected = ids.has(claimed.leaseId) ? [terms.absence, terms.timeouts] : [undefined, undefined];
        assert.deepEqual([claimed.absence, claimed.timeouts], expected);
      }
      const { rebound } = await openSample(store, 'agent-1', { proven: [bound] });
      assert.deepEqual([rebound[0]?.absence, rebound[0]?.timeouts], [terms.absence, terms.timeouts]);
    },
  },
  {
    name: 'refuses grants and limits that are out of bounds',
    async run({ store }) {
      const entry = (changes: object) => store.queue.enqueue([sampleEntry(changes)], context);
      await rejectsWith(entry({ absence: { msMax: 0, then: 'lost' } }), 'STORE_INPUT_INVALID');
      await rejectsWith(entry({ absence: { msMax: 31 * 86_400_000, then: 'lost' } }), 'STORE_INPUT_INVALID');
      await rejectsWith(entry({ timeouts: { leaseMsMax: 0.5 } }), 'STORE_INPUT_INVALID');
    },
  },
  {
    name: 'keeps an accepted attempt while its agent may be away, and binds it when the agent comes back with it',
    async run({ store, elapse }) {
      const agent = await sampleSession(store, 'agent-1');
      const attempt = await accepted(store, agent, restart);
      const offered = await boundSample(store, agent, { absence: restart });
      const other = await boundSample(store, agent);
      const lost = await store.sessions.endSession(agent, 'silent', context, 20_000);
      assert.deepEqual(
        lost.map(({ leaseId, outcome }) => [leaseId, outcome]).sort(),
        [offered, other].map(({ leaseId }) => [leaseId, 'lost']).sort(),
      );
      await elapse(39_000);
      assert.deepEqual(await store.sessions.sweep(limits, context), []);
      const back = await openSample(store, 'agent-1', { proven: [attempt] });
      assert.deepEqual(
        back.rebound.map(({ leaseId, state }) => [leaseId, state]),
        [[attempt.leaseId, 'accepted']],
      );
      await elapse(1_100);
      assert.deepEqual(await store.sessions.sweep({ serverTtlMs: 1e9, graceMs: 0 }, context), []);
    },
  },
  {
    name: 'ends an attempt as failed when its agent stays away for too long, once',
    async run({ store, elapse }) {
      const agent = await sampleSession(store, 'agent-1');
      const attempt = await accepted(store, agent, restart);
      assert.deepEqual(await store.sessions.endSession(agent, 'silent', context, 20_000), []);
      await elapse(40_001);
      const swept = await store.sessions.sweep(limits, context);
      assert.deepEqual(swept, [
        { ...agent, leaseId: attempt.leaseId, attempt: 1, source: 'job', outcome: 'failed', final: true },
      ]);
      const { state, outcome, code } = await endOfLease(store, attempt.leaseId);
      assert.deepEqual([state, outcome, code], ['ended', 'failed', 'AGENT_NEVER_RETURNED']);
      assert.deepEqual(await store.sessions.sweep(limits, context), []);
      assert.deepEqual((await openSample(store, 'agent-1', { proven: [attempt] })).rebound, []);
      assert.deepEqual(await store.attempts.record([endOf(attempt)], context), [{ result: 'fenced' }]);
    },
  },
  {
    name: 'ends an attempt when the absence was over before the session ended',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      await accepted(store, agent, restart);
      const lost = await store.sessions.endSession(agent, 'silent', context, 60_000);
      assert.deepEqual(
        lost.map(({ outcome }) => outcome),
        ['failed'],
      );
    },
  },
  {
    name: 'counts an absence from the last beat of a server that died',
    async run({ store, elapse }) {
      await store.sessions.beat('dies', context);
      const { epoch } = await openSample(store, 'agent-1', { serverId: 'dies' });
      const agent = { agentId: 'agent-1', epoch };
      const attempt = await accepted(store, agent, restart);
      await elapse(31_000);
      // Its session has ended with the server, and its agent may still come back.
      assert.deepEqual(await store.sessions.sweep(limits, context), []);
      assert.equal((await store.jobs.lease(attempt.leaseId, context)).state, 'accepted');
      await elapse(29_500);
      const swept = await store.sessions.sweep(limits, context);
      assert.deepEqual(
        swept.map(({ outcome }) => outcome),
        ['failed'],
      );
    },
  },
  {
    name: 'ends an attempt as completed by absence only if its agent had said that it goes down',
    async run({ store, elapse }) {
      const said = await sampleSession(store, 'said');
      const silent = await sampleSession(store, 'silent');
      const down = await accepted(store, said, shutdown, true);
      const gone = await accepted(store, silent, shutdown);
      // Saying it again changes nothing, nor does a late acceptance.
      const again = [goingDownOf(down), acceptanceOf(down)];
      for (const { result } of await store.attempts.record(again, context)) assert.equal(result, 'persisted');
      for (const agent of [said, silent]) assert.deepEqual(await store.sessions.endSession(agent, 'x', context), []);
      await elapse(60_001);
      const swept = await store.sessions.sweep(limits, context);
      assert.deepEqual(swept.map(({ agentId, outcome }) => [agentId, outcome]).sort(), [
        ['said', 'completed'],
        ['silent', 'lost'],
      ]);
      assert.deepEqual(await endOfLease(store, down.leaseId), {
        state: 'ended',
        outcome: 'completed',
        code: undefined,
        succeeded: true,
      });
      assert.equal((await endOfLease(store, gone.leaseId)).code, 'SESSION_EXPIRED');
    },
  },
  {
    name: 'forgets that an agent goes down when another process of it proves the attempt, and only then',
    async run({ store, elapse }) {
      const outcomes = [];
      for (const goingDown of [true, false]) {
        const agentId = goingDown ? 'same' : 'other';
        const agent = await sampleSession(store, agentId);
        const attempt = await accepted(store, agent, shutdown, true);
        const { leaseId } = attempt;
        const { epoch } = await openSample(store, agentId, { proven: [{ leaseId, attempt: 1, goingDown }] });
        await store.sessions.endSession({ agentId, epoch }, 'gone', context);
        await elapse(60_001);
        outcomes.push((await store.sessions.sweep(limits, context)).map(({ outcome }) => outcome));
      }
      assert.deepEqual(outcomes, [['completed'], ['lost']]);
    },
  },
  {
    name: 'ends as lost what an agent comes back without',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      await accepted(store, agent, shutdown, true);
      await store.sessions.endSession(agent, 'gone', context);
      const { lost } = await openSample(store, 'agent-1');
      assert.deepEqual(
        lost.map(({ outcome }) => outcome),
        ['lost'],
      );
    },
  },
  {
    name: 'keeps the drain of an agent over its sessions until it is released or expires',
    async run({ store, elapse }) {
      const agent = await sampleSession(store, 'agent-1');
      const drain = { ...agent, source: 'restart', reason: 'kernel update', ttlMs: 60_000 };
      await store.drains.record([{ ...drain, epoch: agent.epoch + 1 }], context);
      assert.equal((await store.sessions.agent('agent-1', context)).drain, undefined);
      await store.drains.record([{ ...drain, source: 'other' }], context);
      await store.drains.record([drain], context);
      await elapse(10_000);
      const opened = await openSample(store, 'agent-1');
      assert.deepEqual([opened.drain?.source, opened.drain?.reason], ['restart', 'kernel update']);
      const remainingMs = opened.drain?.remainingMs ?? 0;
      assert.ok(remainingMs > 40_000 && remainingMs <= 50_000, `${remainingMs} ms are left`);
      const now = { agentId: 'agent-1', epoch: opened.epoch };
      await store.drains.release([{ ...now, source: 'other' }], context);
      await store.drains.release([{ ...agent, source: 'restart' }], context);
      const [record] = await store.sessions.agents({ limit: 1 }, context);
      assert.equal(record?.drain?.source, 'restart');
      await store.drains.release([{ ...now, source: 'restart' }], context);
      assert.equal((await store.sessions.agent('agent-1', context)).drain, undefined);
      await store.drains.record([{ ...drain, ...now }], context);
      await elapse(60_001);
      assert.equal((await store.sessions.agent('agent-1', context)).drain, undefined);
      assert.equal((await openSample(store, 'agent-1')).drain, undefined);
      await rejectsWith(store.drains.record([{ ...drain, ttlMs: 0 }], context), 'STORE_INPUT_INVALID');
    },
  },
  {
    name: 'ends leases whose whole time is over: waiting ones at once, bound ones by their agent',
    async run({ store, elapse }) {
      const agent = await sampleSession(store, 'agent-1');
      const timeouts = { leaseMsMax: 10_000 };
      const bound = await boundSample(store, agent, { timeouts });
      const waiting = sampleEntry({ timeouts });
      const later = sampleEntry({ timeouts: { leaseMsMax: 30_000 } });
      const endless = sampleEntry();
      await store.queue.enqueue([waiting, later, endless], context);
      await elapse(9_000);
      assert.deepEqual(await store.queue.expire(context), { ended: [], wished: [] });
      await elapse(1_001);
      const { leaseId, attempt } = bound;
      assert.deepEqual(await store.queue.expire(context), {
        ended: [{ leaseId: waiting.draft.leaseId, source: 'job' }],
        wished: [{ ...agent, leaseId, attempt }],
      });
      assert.deepEqual(await store.queue.expire(context), { ended: [], wished: [] });
      const ended = await store.jobs.lease(waiting.draft.leaseId, context);
      assert.deepEqual(
        [ended.state, ended.endedWaiting?.code, ended.cancelWished, ended.succeeded],
        ['ended', 'LEASE_TIMED_OUT', false, false],
      );
      const [record] = await store.attempts.boundTo(agent, context);
      assert.deepEqual([record?.state, record?.cancelCode], ['cancelling', 'LEASE_TIMED_OUT']);
      const end = endOf(bound, 'timed-out', { noRetry: true });
      assert.deepEqual(await store.attempts.record([end], context), [{ result: 'persisted', final: true }]);
      const stopped = await store.jobs.lease(leaseId, context);
      assert.deepEqual([stopped.state, stopped.cancelWished], ['ended', false]);
      assert.equal((await store.jobs.lease(endless.draft.leaseId, context)).state, 'waiting');
    },
  },
];
