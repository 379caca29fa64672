import { passingRefusalDelayMs } from '@drover/lease-kit';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { storeLimits } from '../store-limits.ts';
import type { StoreCase } from './compliance-case.ts';
import {
  acceptanceOf,
  boundSample,
  claimAll,
  endOf,
  rejectsWith,
  sampleContext as context,
  sampleDraft,
  sampleEntry,
  samplePayload,
  sampleSession,
} from './store-samples.ts';

/** What every lease queue does. */
export const leaseQueueCases: readonly StoreCase[] = [
  {
    name: 'gives a waiting lease to one place, with everything that was stored',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const draft = sampleDraft({
        payload: samplePayload(0, 255, 10),
        requirements: { pool: 'linux', resources: { cores: 2 } },
        runLimitMs: 123_456,
        cancelGraceMs: 77,
      });
      assert.deepEqual(await store.queue.enqueue([{ draft }], context), []);
      const [assigned, ...more] = await claimAll(store, [agent, agent]);
      assert.deepEqual(more, []);
      assert.deepEqual(Buffer.from(assigned?.payload.value ?? []), Buffer.from([0, 255, 10]));
      assert.deepEqual(
        { ...assigned, payload: assigned?.payload.typeUrl },
        {
          leaseId: draft.leaseId,
          attempt: 1,
          ...agent,
          payload: draft.payload.typeUrl,
          requirements: draft.requirements,
          runLimitMs: 123_456,
          cancelGraceMs: 77,
        },
      );
      assert.deepEqual(await claimAll(store, [agent]), []);
    },
  },
  {
    name: 'groups what waits by source, type and requirements, highest priority first',
    async run({ store }) {
      await store.queue.enqueue(
        [
          sampleEntry({ requirements: { resources: { cores: 1, ram: 5 } }, priority: 1 }),
          sampleEntry({ requirements: { resources: { ram: 5, Cores: 1 } }, priority: 2 }),
          sampleEntry({ requirements: { pool: 'a' }, priority: 9 }),
          sampleEntry({ requirements: { pool: 'b' }, priority: -1000 }),
          sampleEntry({ source: 'other', priority: 1000 }),
        ],
        context,
      );
      const classes = await store.queue.waitingClasses('job', context);
      assert.deepEqual(
        classes.map(({ requirements, priorityMax }) => [requirements.pool, priorityMax]),
        [
          ['a', 9],
          [undefined, 2],
          ['b', -1000],
        ],
      );
      assert.equal(classes[0]?.payloadType, 'drover.test.v1.Work');
      assert.equal(new Set(classes.map(({ classId }) => classId)).size, 3);
      assert.equal((await store.queue.waitingClasses('other', context)).length, 1);
      assert.deepEqual(await store.queue.waitingClasses('nobody', context), []);
    },
  },
  {
    name: 'claims by priority, then by age, over all classes that were asked for, and no other',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const names = (attempts: readonly { leaseId: string }[]) =>
        attempts.map(({ leaseId }) => nameOf.get(leaseId)).sort();
      const nameOf = new Map<string, string>();
      const add = async (name: string, priority: number, pool: string) => {
        const entry = sampleEntry({ priority, requirements: { pool } });
        nameOf.set(entry.draft.leaseId, name);
        await store.queue.enqueue([entry], context);
      };
      await add('low', 0, 'a');
      await add('first', 5, 'a');
      await add('second', 5, 'b');
      await add('third', 5, 'a');
      await add('unwanted', 900, 'c');
      const classes = await store.queue.waitingClasses('job', context);
      const classIds = classes.filter(({ requirements }) => requirements.pool !== 'c').map(({ classId }) => classId);
      const claim = (count: number) =>
        store.queue.claim({ source: 'job', classIds, places: Array.from({ length: count }, () => agent) }, context);
      assert.deepEqual(names(await claim(2)), ['first', 'second']);
      assert.deepEqual(names(await claim(1)), ['third']);
      assert.deepEqual(names(await claim(5)), ['low']);
      assert.deepEqual(
        await store.queue.claim(
          { source: 'other', classIds: classes.map(({ classId }) => classId), places: [agent] },
          context,
        ),
        [],
      );
    },
  },
  {
    name: 'groups what waits by submitter as well, and says which priorities wait and for how long',
    async run({ store }) {
      await store.queue.enqueue(
        [
          sampleEntry({ submitter: 'user:ann', priority: 3 }),
          sampleEntry({ submitter: 'user:ann', priority: -2 }),
          sampleEntry({ submitter: 'user:bob', priority: 1 }),
          sampleEntry(),
        ],
        context,
      );
      const classes = await store.queue.waitingClasses('job', context);
      assert.deepEqual(
        classes.map(({ submitter, priorityMax, priorityMin }) => [submitter, priorityMax, priorityMin]),
        [
          ['user:ann', 3, -2],
          ['user:bob', 1, 1],
          ['', 0, 0],
        ],
      );
      for (const { ageMsMax } of classes) assert.ok(ageMsMax >= 0 && ageMsMax < 60_000, String(ageMsMax));
      const [assigned] = await claimAll(store, [await sampleSession(store, 'agent-1')]);
      assert.equal(assigned?.submitter, 'user:ann');
    },
  },
  {
    name: 'takes turns between submitters of one priority by their shares, and priority goes before turns',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const nameOf = new Map<string, string>();
      const add = async (name: string, submitter: string, priority = 0, pool?: string) => {
        const entry = sampleEntry({ submitter, priority, requirements: pool === undefined ? {} : { pool } });
        nameOf.set(entry.draft.leaseId, name);
        await store.queue.enqueue([entry], context);
      };
      for (const n of [1, 2, 3, 4, 5, 6]) await add(`a${n}`, 'ann', 0, n % 2 === 0 ? 'even' : undefined);
      for (const n of [1, 2, 3]) await add(`b${n}`, 'bob');
      await add('first', 'ann', 7);
      const classes = await store.queue.waitingClasses('job', context);
      const claim = async (count: number, startOf: Record<string, number>, stepOf: Record<string, number>) => {
        const attempts = await store.queue.claim(
          {
            source: 'job',
            classIds: classes.map(({ classId }) => classId),
            shares: classes.map(({ submitter }) => ({
              submitter: submitter === 'ann' ? 0 : 1,
              start: startOf[submitter] as number,
              step: stepOf[submitter] as number,
            })),
            places: Array.from({ length: count }, () => agent),
          },
          context,
        );
        return attempts.map(({ leaseId }) => nameOf.get(leaseId)).sort();
      };
      // ann: 2, 4, … and bob: 1.5, 2.5, …
      assert.deepEqual(await claim(4, { ann: 0, bob: 0.5 }, { ann: 2, bob: 1 }), ['a1', 'b1', 'b2', 'first']);
      // ann, of twice bob's weight: 0.5, 1, 1.5, … and bob: 1.1.
      assert.deepEqual(await claim(3, { ann: 0, bob: 0.1 }, { ann: 0.5, bob: 1 }), ['a2', 'a3', 'b3']);
      assert.deepEqual(await claim(9, { ann: 0, bob: 0 }, { ann: 1, bob: 1 }), ['a4', 'a5', 'a6']);
    },
  },
  {
    name: 'claims what has waited long, the oldest first, whatever its priority',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const entries = [-5, 3, 0, 9].map((priority) => sampleEntry({ priority }));
      for (const entry of entries) await store.queue.enqueue([entry], context);
      const [only] = await store.queue.waitingClasses('job', context);
      const claim = (count: number, agedMs: number) =>
        store.queue.claim(
          { source: 'job', classIds: [only?.classId ?? 0], places: Array.from({ length: count }, () => agent), agedMs },
          context,
        );
      assert.deepEqual(await claim(4, 3_600_000), []);
      const ids = (await claim(2, 0)).map(({ leaseId }) => leaseId).sort();
      assert.deepEqual(ids, [entries[0], entries[1]].map((entry) => entry?.draft.leaseId ?? '').sort());
    },
  },
  {
    name: 'refuses shares that do not belong to the classes of a claim',
    async run({ store }) {
      const claim = (shares: readonly { submitter: number; start: number; step: number }[]) =>
        store.queue.claim({ source: 'job', classIds: [1], places: [], shares }, context);
      await rejectsWith(claim([]), 'STORE_INPUT_INVALID');
      await rejectsWith(claim([{ submitter: 0, start: 0, step: 0 }]), 'STORE_INPUT_INVALID');
      await rejectsWith(claim([{ submitter: 0, start: Number.NaN, step: 1 }]), 'STORE_INPUT_INVALID');
    },
  },
  {
    name: 'binds each lease to one place and gives a place one lease',
    async run({ store }) {
      const one = await sampleSession(store, 'agent-1');
      const two = await sampleSession(store, 'agent-2');
      await store.queue.enqueue(
        Array.from({ length: 5 }, () => sampleEntry()),
        context,
      );
      const attempts = await claimAll(store, [one, two, two]);
      assert.deepEqual(attempts.map(({ agentId }) => agentId).sort(), ['agent-1', 'agent-2', 'agent-2']);
      assert.equal(new Set(attempts.map(({ leaseId }) => leaseId)).size, 3);
    },
  },
  {
    name: 'gives no lease to a session that is not current',
    async run({ store }) {
      const old = await sampleSession(store, 'agent-1');
      const current = await sampleSession(store, 'agent-1');
      const ended = await sampleSession(store, 'agent-2');
      await store.sessions.endSession(ended, 'done', context);
      await store.queue.enqueue([sampleEntry(), sampleEntry(), sampleEntry()], context);
      const attempts = await claimAll(store, [old, ended, { agentId: 'nobody', epoch: 1 }, current]);
      assert.deepEqual(
        attempts.map(({ agentId, epoch }) => [agentId, epoch]),
        [['agent-1', current.epoch]],
      );
    },
  },
  {
    name: 'stores and binds in one call, if the session is current',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const bound = sampleEntry({}, agent);
      const waiting = sampleEntry({}, { ...agent, epoch: agent.epoch + 7 });
      const assigned = await store.queue.enqueue([bound, waiting, sampleEntry()], context);
      assert.deepEqual(
        assigned.map(({ leaseId, attempt, epoch }) => [leaseId, attempt, epoch]),
        [[bound.draft.leaseId, 1, agent.epoch]],
      );
      assert.equal((await claimAll(store, [agent, agent, agent])).length, 2);
    },
  },
  {
    name: 'stores all leases of a call or none, and an id once for ever',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const first = sampleEntry();
      await store.queue.enqueue([first], context);
      await rejectsWith(store.queue.enqueue([sampleEntry(), first, sampleEntry()], context), 'LEASE_EXISTS');
      const attempts = await claimAll(store, [agent, agent, agent]);
      assert.equal(attempts.length, 1);
      await store.attempts.record(
        attempts.map((attempt) => endOf(attempt)),
        context,
      );
      await rejectsWith(store.queue.enqueue([sampleEntry(), first], context), 'LEASE_EXISTS');
      assert.deepEqual(await claimAll(store, [agent]), []);
    },
  },
  {
    name: 'gives a refused lease to others at once, never to who refused it, and lets nothing behind it starve',
    async run({ store }) {
      const one = await sampleSession(store, 'agent-1');
      const two = await sampleSession(store, 'agent-2');
      const first = sampleEntry({ priority: 9 });
      await store.queue.enqueue([first], context);
      const [refused] = await claimAll(store, [one]);
      assert.ok(refused);
      const [result] = await store.attempts.record(
        [endOf(refused, 'refused', { reason: { code: 'NO', message: 'no' } })],
        context,
      );
      assert.deepEqual(result, { result: 'persisted', final: false });
      assert.deepEqual((await store.jobs.lease(first.draft.leaseId, context)).excludedAgents, ['agent-1']);
      assert.deepEqual(await claimAll(store, [one, one]), []);
      const behind = sampleEntry({ priority: 1 });
      await store.queue.enqueue([behind], context);
      assert.deepEqual(
        (await claimAll(store, [one])).map(({ leaseId }) => leaseId),
        [behind.draft.leaseId],
      );
      const [again] = await claimAll(store, [one, two]);
      assert.deepEqual([again?.leaseId, again?.attempt, again?.agentId], [first.draft.leaseId, 2, 'agent-2']);
    },
  },
  {
    name: 'excludes nobody for a refusal that passes, and waits a moment before it asks again',
    async run({ store, elapse }) {
      const one = await sampleSession(store, 'agent-1');
      const entry = sampleEntry();
      await store.queue.enqueue([entry], context);
      const [refused] = await claimAll(store, [one]);
      assert.ok(refused);
      const reason = { code: 'RESOURCE_TAKEN', message: 'full' };
      await store.attempts.record([endOf(refused, 'refused', { reason })], context);
      assert.deepEqual((await store.jobs.lease(entry.draft.leaseId, context)).excludedAgents, []);
      assert.deepEqual(await claimAll(store, [one]), []);
      await elapse(passingRefusalDelayMs);
      const [again] = await claimAll(store, [one]);
      assert.deepEqual([again?.leaseId, again?.attempt], [entry.draft.leaseId, 2]);
    },
  },
  {
    name: 'holds a retried lease back until it is due',
    async run({ store, elapse }) {
      const agent = await sampleSession(store, 'agent-1');
      const attempt = await boundSample(store, agent, {
        retry: { attemptsMax: 3, after: ['failed'], onFailedWork: false, backoffMs: 10_000 },
      });
      assert.equal(await store.queue.nextDueMs('job', context), undefined);
      await store.attempts.record([acceptanceOf(attempt), endOf(attempt, 'failed')], context);
      const dueMs = await store.queue.nextDueMs('job', context);
      assert.ok(dueMs !== undefined && dueMs > 5_000 && dueMs <= 10_000, `due in ${String(dueMs)} ms`);
      assert.equal(await store.queue.nextDueMs('other', context), undefined);
      assert.deepEqual(await store.queue.waitingClasses('job', context), []);
      assert.deepEqual(await claimAll(store, [agent]), []);
      await elapse(10_001);
      const [second] = await claimAll(store, [agent]);
      assert.deepEqual([second?.leaseId, second?.attempt], [attempt.leaseId, 2]);
      assert.equal(await store.queue.nextDueMs('job', context), undefined);
    },
  },
  {
    name: 'says what is wrong with input before it stores anything',
    async run({ store }) {
      const enqueue = (...entries: Parameters<typeof sampleEntry>[0][]) =>
        store.queue.enqueue(
          entries.map((changes) => sampleEntry(changes)),
          context,
        );
      const invalid = 'STORE_INPUT_INVALID';
      await rejectsWith(enqueue({}, { leaseId: 'nonsense' }), invalid);
      await rejectsWith(enqueue({ leaseId: randomUUID().toUpperCase().replace(/^./, 'A') }), invalid);
      await rejectsWith(enqueue({ name: 'a\0b' }), invalid);
      await rejectsWith(enqueue({ source: 'a\0b' }), invalid);
      await rejectsWith(enqueue({ priority: 1001 }), invalid);
      await rejectsWith(enqueue({ runLimitMs: 1.5 }), invalid);
      await rejectsWith(enqueue({ retry: { attemptsMax: 21, after: [], onFailedWork: false, backoffMs: 0 } }), invalid);
      await rejectsWith(enqueue({ requirements: { condition: 'os ==' } }), 'CONDITION_INVALID');
      await rejectsWith(enqueue({ requirements: { resources: { cores: -1 } } }), 'REQUIREMENTS_INVALID');
      const twice = sampleDraft();
      await rejectsWith(store.queue.enqueue([{ draft: twice }, { draft: twice }], context), invalid);
      const large = samplePayload();
      large.value = new Uint8Array(storeLimits.payloadBytesMax + 1);
      await rejectsWith(enqueue({ payload: large }), 'PAYLOAD_TOO_LARGE');
      const many = Array.from({ length: storeLimits.leasesPerCallMax + 1 }, () => sampleEntry());
      await rejectsWith(store.queue.enqueue(many, context), 'STORE_CALL_TOO_LARGE');
      await rejectsWith(store.queue.waitingClasses('a\0b', context), invalid);
      await rejectsWith(store.queue.claim({ source: 'job', classIds: [1.5], places: [] }, context), invalid);
      const bound = { source: 'job', classIds: [1], places: [{ agentId: 'a\0', epoch: 1 }] };
      await rejectsWith(store.queue.claim(bound, context), invalid);
      assert.deepEqual(await store.queue.waitingClasses('job', context), []);
    },
  },
  {
    name: 'keeps a payload of the largest size, and texts of any script',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent "1" {,} \\ ünïcode 🐑');
      const payload = samplePayload();
      payload.value = Uint8Array.from({ length: storeLimits.payloadBytesMax }, (_, index) => (index * 31) % 251);
      const name = 'a "quoted", {braced} \\ name 🐑 \n';
      const attempt = await boundSample(store, agent, { payload, name });
      const [record] = await store.attempts.boundTo(agent, context);
      assert.deepEqual(Buffer.compare(record?.payload.value ?? new Uint8Array(), payload.value), 0);
      await store.attempts.record([endOf(attempt, 'refused')], context);
      const lease = await store.jobs.lease(attempt.leaseId, context);
      assert.equal(lease.name, name);
      assert.deepEqual(lease.excludedAgents, [agent.agentId]);
    },
  },
  {
    name: 'does nothing for a call that was aborted before',
    async run({ store }) {
      const signal = AbortSignal.abort();
      await rejectsWith(store.queue.enqueue([sampleEntry()], { ...context, signal }), 'CALL_CANCELLED');
      assert.deepEqual(await store.queue.waitingClasses('job', context), []);
    },
  },
];
