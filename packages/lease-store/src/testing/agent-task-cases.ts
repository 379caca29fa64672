import assert from 'node:assert/strict';
import { passingRefusalDelayMs, type LeaseDraft } from '@drover/lease-kit';
import type {
  AgentTaskRetry,
  AgentTaskWish,
  BindAgentTasks,
  BoundAgentTask,
  OpenAgentTask,
} from '../agent-task-store.ts';
import type { DroverStore } from '../drover-store.ts';
import type { SessionRef } from '../lease-queue.ts';
import { storeLimits } from '../store-limits.ts';
import type { StoreCase } from './compliance-case.ts';
import {
  acceptanceOf,
  endOf,
  openSample,
  rejectsWith,
  sampleContext as context,
  sampleDraft,
  samplePayload,
  sampleSession,
} from './store-samples.ts';

const source = 'restart';
const retry: AgentTaskRetry = { backoffMs: [10_000, 60_000], failuresMax: 3 };

const wish = (agentId: string, changes: Partial<AgentTaskWish> = {}): AgentTaskWish => ({
  source,
  agentId,
  payload: samplePayload(1),
  ...changes,
});

const draft = (changes: Partial<LeaseDraft> = {}): LeaseDraft =>
  sampleDraft({ source, requirements: { exclusive: true }, ...changes });

async function openTask(store: DroverStore, agentId: string): Promise<OpenAgentTask> {
  const found = (await store.agentTasks.open(source, context)).find((task) => task.agentId === agentId);
  assert.ok(found, `a task of ${agentId} is open`);
  return found;
}

/** Binds what is open for these sessions, or keeps places for them. */
async function bindAll(
  store: DroverStore,
  sessions: readonly SessionRef[],
  how: 'bind' | 'drain' = 'bind',
  changes: Partial<BindAgentTasks> = {},
): Promise<readonly BoundAgentTask[]> {
  const open = new Map((await store.agentTasks.open(source, context)).map((task) => [task.agentId, task]));
  const entries = sessions.map((session) => ({
    session,
    revision: open.get(session.agentId)?.revision ?? 0,
    ...(how === 'bind' ? { draft: draft() } : {}),
  }));
  return store.agentTasks.bind({ source, entries, drainTtlMs: 60_000, ...changes }, context);
}

async function bound(store: DroverStore, session: SessionRef) {
  const [result] = await bindAll(store, [session]);
  assert.ok(result?.result === 'bound', `the task is bound, but was ${String(result?.result)}`);
  return result.attempt;
}

const stateOf = async (store: DroverStore, agentId: string) =>
  (await store.agentTasks.list({ limit: 10, source, agentId }, context))[0];

/** What every agent task store does. */
export const agentTaskStoreCases: readonly StoreCase[] = [
  {
    name: 'keeps one wish for a source and an agent, repeats change nothing, another one takes its place',
    async run({ store }) {
      await sampleSession(store, 'agent-1');
      const want = async (...wishes: AgentTaskWish[]) =>
        (await store.agentTasks.want(wishes, context)).map(({ agentId, result }) => [agentId, result]);
      assert.deepEqual(await want(wish('agent-1'), wish('nobody')), [
        ['agent-1', 'wanted'],
        ['nobody', 'unknown-agent'],
      ]);
      const first = await openTask(store, 'agent-1');
      assert.deepEqual(await want(wish('agent-1')), [['agent-1', 'unchanged']]);
      assert.equal((await openTask(store, 'agent-1')).revision, first.revision);
      assert.deepEqual(await want(wish('agent-1', { forced: true })), [['agent-1', 'replaced']]);
      const second = await openTask(store, 'agent-1');
      assert.ok(second.revision > first.revision);
      assert.deepEqual(
        { ...second, payload: [second.payload.typeUrl, [...second.payload.value]], revision: 0 },
        {
          source,
          agentId: 'agent-1',
          revision: 0,
          payload: [samplePayload().typeUrl, [1]],
          forced: true,
          requestedBy: 'service:compliance',
          failures: 0,
          dueMs: 0,
          draining: false,
        },
      );
      assert.deepEqual(await want({ ...wish('agent-1'), source: 'shutdown' }), [['agent-1', 'wanted']]);
      assert.equal((await store.agentTasks.open(source, context)).length, 1);
    },
  },
  {
    name: 'binds a task once, with its lease, and settles it when the lease has ended',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      await store.agentTasks.want([wish('agent-1')], context);
      const { revision } = await openTask(store, 'agent-1');
      const entries = [{ session: agent, revision, draft: draft() }];
      const request = { source, entries, drainTtlMs: 60_000 };
      const [result] = await store.agentTasks.bind(request, context);
      assert.ok(result?.result === 'bound');
      const { attempt } = result;
      assert.deepEqual([attempt.attempt, attempt.agentId, attempt.epoch], [1, 'agent-1', agent.epoch]);
      const [held] = await store.attempts.boundTo(agent, context);
      assert.deepEqual([held?.leaseId, held?.source], [attempt.leaseId, source]);
      assert.deepEqual(await store.agentTasks.open(source, context), []);
      const again = await store.agentTasks.bind({ ...request, entries: [{ ...entries[0]!, draft: draft() }] }, context);
      assert.deepEqual(again, [{ source, agentId: 'agent-1', result: 'changed' }]);
      assert.deepEqual(await store.agentTasks.settle(source, retry, context), []);
      assert.equal((await stateOf(store, 'agent-1'))?.state, 'carried');
      // The same is being done already.
      assert.equal((await store.agentTasks.want([wish('agent-1', { forced: true })], context))[0]?.result, 'unchanged');

      const output = samplePayload(7);
      await store.attempts.record([acceptanceOf(attempt), endOf(attempt, 'completed', { output })], context);
      const [settled, ...others] = await store.agentTasks.settle(source, retry, context);
      assert.deepEqual(
        [settled?.agentId, settled?.leaseId, settled?.end.outcome, settled?.end.succeeded, settled?.wantedAgain],
        ['agent-1', attempt.leaseId, 'completed', true, false],
      );
      assert.equal(others.length, 0);
      assert.deepEqual(await store.agentTasks.settle(source, retry, context), []);
      const record = await stateOf(store, 'agent-1');
      assert.deepEqual(
        [record?.state, record?.leaseId, record?.last?.leaseId, record?.last?.outcome, record?.last?.succeeded],
        ['ended', undefined, attempt.leaseId, 'completed', true],
      );
      assert.equal(record?.last?.output, undefined);
      const [whole] = await store.agentTasks.list({ limit: 10, source, withOutputs: true }, context);
      assert.deepEqual([whole?.last?.output?.typeUrl, [...(whole?.last?.output?.value ?? [])]], [output.typeUrl, [7]]);
      assert.deepEqual(await store.agentTasks.open(source, context), []);
      assert.equal((await store.agentTasks.want([wish('agent-1')], context))[0]?.result, 'wanted');
    },
  },
  {
    name: 'binds nothing for a session that is not current, or a task that has changed',
    async run({ store }) {
      const old = await sampleSession(store, 'agent-1');
      await store.agentTasks.want([wish('agent-1')], context);
      const { revision } = await openTask(store, 'agent-1');
      const agent = await sampleSession(store, 'agent-1');
      const bind = async (session: SessionRef, of: number) =>
        (
          await store.agentTasks.bind(
            { source, entries: [{ session, revision: of, draft: draft() }], drainTtlMs: 60_000 },
            context,
          )
        )[0]?.result;
      assert.equal(await bind(old, revision), 'fenced');
      assert.equal(await bind(agent, revision + 1_000), 'changed');
      assert.equal(await bind({ agentId: 'agent-2', epoch: 1 }, revision), 'changed');
      assert.deepEqual(await store.attempts.boundTo(agent, context), []);
      assert.equal(await bind(agent, revision), 'bound');
    },
  },
  {
    name: 'keeps what is carried and drained for within the caps of the source and of each group',
    async run({ store, elapse }) {
      const sessions: SessionRef[] = [];
      for (let n = 1; n <= 5; n += 1) sessions.push(await sampleSession(store, `agent-${n}`));
      const [one, two, three, four, five] = sessions as [SessionRef, SessionRef, SessionRef, SessionRef, SessionRef];
      const group = { name: 'request-1', max: 2 };
      const wishes = sessions.map(({ agentId }, index) => wish(agentId, index < 4 ? { group } : {}));
      await store.agentTasks.want(wishes, context);
      const results = async (of: readonly SessionRef[], how: 'bind' | 'drain' = 'bind', atOnceMax = 3) =>
        (await bindAll(store, of, how, { atOnceMax })).map(({ result }) => result);

      assert.deepEqual(await results([one, two, three], 'drain'), ['draining', 'draining', 'full']);
      // Who has a place keeps it, and a lease takes the place of its drain.
      assert.deepEqual(await results([one, two], 'drain'), ['draining', 'draining']);
      assert.deepEqual(await results([one, three]), ['bound', 'full']);
      assert.equal((await stateOf(store, 'agent-2'))?.state, 'draining');
      assert.deepEqual(await results([five], 'drain', 2), ['full']);
      assert.deepEqual(await results([five]), ['bound']);

      // A place that nobody asks for again is free after a while, and that of an agent without a session at once.
      await elapse(60_001);
      assert.equal((await stateOf(store, 'agent-2'))?.state, 'waiting');
      assert.deepEqual(await results([three], 'drain'), ['draining']);
      assert.deepEqual(await results([four], 'drain'), ['full']);
      await store.sessions.endSession(three, 'gone', context);
      assert.deepEqual(await results([four], 'drain'), ['draining']);

      // The end of a lease frees its place before it is settled.
      const [held] = await store.attempts.boundTo(one, context);
      assert.ok(held);
      await store.attempts.record([endOf(held)], context);
      assert.deepEqual(await results([two]), ['bound']);
    },
  },
  {
    name: 'waits after failures as the policy says, and gives up in the end',
    async run({ store, elapse }) {
      const agent = await sampleSession(store, 'agent-1');
      await store.agentTasks.want([wish('agent-1')], context);
      const outcomes = ['failed', 'lost', 'timed-out'] as const;
      for (const [index, outcome] of outcomes.entries()) {
        const attempt = await bound(store, agent);
        const reason = { code: `NO_${index}`, message: 'it did not work' };
        await store.attempts.record([endOf(attempt, outcome, { reason })], context);
        const [settled] = await store.agentTasks.settle(source, retry, context);
        assert.deepEqual([settled?.failures, settled?.end.outcome, settled?.end.reason], [index + 1, outcome, reason]);
        const isLast = index === outcomes.length - 1;
        assert.equal(settled?.wantedAgain, !isLast);
        if (isLast) break;
        const waitMs = retry.backoffMs[index] ?? 0;
        const { dueMs, failures } = await openTask(store, 'agent-1');
        assert.ok(dueMs > waitMs - 5_000 && dueMs <= waitMs, `due in ${dueMs} ms`);
        assert.equal(failures, index + 1);
        assert.deepEqual(
          (await bindAll(store, [agent])).map(({ result }) => result),
          ['changed'],
        );
        await elapse(waitMs + 1);
      }
      assert.deepEqual(await store.agentTasks.open(source, context), []);
      assert.equal((await stateOf(store, 'agent-1'))?.state, 'ended');
    },
  },
  {
    name: 'ends a back-off when somebody asks again and says so',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      await store.agentTasks.want([wish('agent-1')], context);
      await store.attempts.record([endOf(await bound(store, agent), 'failed')], context);
      await store.agentTasks.settle(source, retry, context);
      assert.equal((await store.agentTasks.want([wish('agent-1')], context))[0]?.result, 'unchanged');
      assert.ok((await openTask(store, 'agent-1')).dueMs > 0);
      await store.agentTasks.want([wish('agent-1', { endsBackOff: true })], context);
      const { dueMs, failures } = await openTask(store, 'agent-1');
      assert.deepEqual([dueMs, failures], [0, 0]);
      await bound(store, agent);
    },
  },
  {
    name: 'does what took the place of a task after the lease that carries it',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      await store.agentTasks.want([wish('agent-1')], context);
      const attempt = await bound(store, agent);
      const next = wish('agent-1', { payload: samplePayload(2) });
      assert.equal((await store.agentTasks.want([next], context))[0]?.result, 'replaced');
      assert.deepEqual(await store.agentTasks.open(source, context), []);
      await store.attempts.record([endOf(attempt, 'failed')], context);
      const [settled] = await store.agentTasks.settle(source, retry, context);
      assert.deepEqual([settled?.wantedAgain, settled?.failures, settled?.dueMs], [true, 0, 0]);
      assert.deepEqual([...(await openTask(store, 'agent-1')).payload.value], [2]);
    },
  },
  {
    name: 'withdraws what waits at once, and wishes the lease cancelled that carries it',
    async run({ store }) {
      const one = await sampleSession(store, 'agent-1');
      await sampleSession(store, 'agent-2');
      await store.agentTasks.want([wish('agent-1'), wish('agent-2')], context);
      const attempt = await bound(store, one);
      await store.attempts.record([acceptanceOf(attempt)], context);
      const keys = ['agent-2', 'agent-1', 'agent-3'].map((agentId) => ({ source, agentId }));
      const { leaseId, epoch } = attempt;
      const cancelled = { source, agentId: 'agent-1', result: 'cancelling' };
      assert.deepEqual(await store.agentTasks.withdraw(keys, 'not today', context), [
        { source, agentId: 'agent-2', result: 'withdrawn' },
        { ...cancelled, attempt: { leaseId, attempt: 1, agentId: 'agent-1', epoch } },
        { source, agentId: 'agent-3', result: 'not-wanted' },
      ]);
      const [held] = await store.attempts.boundTo(one, context);
      assert.deepEqual([held?.state, held?.cancelReason], ['cancelling', 'not today']);
      assert.equal((await stateOf(store, 'agent-1'))?.state, 'withdrawing');
      assert.deepEqual(await store.agentTasks.open(source, context), []);
      await store.attempts.record([endOf(attempt, 'cancelled')], context);
      const [settled] = await store.agentTasks.settle(source, retry, context);
      assert.deepEqual([settled?.wantedAgain, settled?.end.outcome], [false, 'cancelled']);
      assert.deepEqual(
        (await store.agentTasks.withdraw(keys, 'again', context)).map(({ result }) => result),
        ['not-wanted', 'not-wanted', 'not-wanted'],
      );
    },
  },
  {
    name: 'takes a lease back that its agent has refused; a refusal that passes is no failure',
    async run({ store, elapse }) {
      const agent = await sampleSession(store, 'agent-1');
      await store.agentTasks.want([wish('agent-1')], context);
      for (const [code, failures, delayMs] of [
        ['MACHINE_NOT_IDLE', 0, passingRefusalDelayMs],
        ['COMMAND_MISSING', 1, 10_000],
      ] as const) {
        const attempt = await bound(store, agent);
        await store.attempts.record([endOf(attempt, 'refused', { reason: { code, message: 'no' } })], context);
        const [settled] = await store.agentTasks.settle(source, retry, context);
        assert.deepEqual(
          [settled?.end.outcome, settled?.end.reason?.code, settled?.failures, settled?.wantedAgain],
          ['refused', code, failures, true],
        );
        // Nobody else is to get it.
        assert.equal((await store.jobs.lease(attempt.leaseId, context)).state, 'ended');
        assert.deepEqual(await store.queue.waitingClasses(source, context), []);
        const { dueMs } = await openTask(store, 'agent-1');
        assert.ok(dueMs > 0 && dueMs <= delayMs, `due in ${dueMs} ms`);
        await elapse(delayMs + 1);
      }
    },
  },
  {
    name: 'settles what a session that has gone left behind',
    async run({ store }) {
      await sampleSession(store, 'agent-1').then(async (agent) => {
        await store.agentTasks.want([wish('agent-1')], context);
        await bound(store, agent);
      });
      await openSample(store, 'agent-1');
      const [settled] = await store.agentTasks.settle(source, retry, context);
      assert.deepEqual([settled?.end.outcome, settled?.failures, settled?.wantedAgain], ['lost', 1, true]);
    },
  },
  {
    name: 'ends a task that can never be done, with the reason, unless it has changed',
    async run({ store }) {
      await sampleSession(store, 'agent-1');
      await store.agentTasks.want([wish('agent-1')], context);
      const { revision } = await openTask(store, 'agent-1');
      const reason = { code: 'TYPE_UNKNOWN', message: 'no handler' };
      const key = { source, agentId: 'agent-1', reason };
      await store.agentTasks.drop([{ ...key, revision: revision - 1 }], context);
      assert.equal((await stateOf(store, 'agent-1'))?.state, 'waiting');
      await store.agentTasks.drop([{ ...key, revision }], context);
      const record = await stateOf(store, 'agent-1');
      assert.deepEqual([record?.state, record?.last?.outcome, record?.last?.reason], ['ended', 'refused', reason]);
    },
  },
  {
    name: 'holds a wish back until its time, and forgets one that came too late',
    async run({ store, elapse }) {
      const agent = await sampleSession(store, 'agent-1');
      await store.agentTasks.want([wish('agent-1', { delayMs: 5_000, expiresAfterMs: 20_000 })], context);
      assert.equal((await bindAll(store, [agent]))[0]?.result, 'changed');
      const { dueMs } = await openTask(store, 'agent-1');
      assert.ok(dueMs > 0 && dueMs <= 5_000, `due in ${dueMs} ms`);
      const waiting = await stateOf(store, 'agent-1');
      assert.ok(waiting?.state === 'waiting' && waiting.notBeforeMs !== undefined);
      await elapse(5_001);
      assert.equal((await openTask(store, 'agent-1')).dueMs, 0);
      await elapse(20_000);
      assert.deepEqual(await store.agentTasks.open(source, context), []);
      assert.equal((await stateOf(store, 'agent-1'))?.state, 'expired');
      assert.equal((await store.agentTasks.want([wish('agent-1')], context))[0]?.result, 'wanted');
    },
  },
  {
    name: 'lists tasks in pages by source and agent',
    async run({ store }) {
      for (const agentId of ['b', 'a', 'B']) await sampleSession(store, agentId);
      const keys = [
        ['restart', 'b'],
        ['restart', 'a'],
        ['conform', 'a'],
        ['restart', 'B'],
      ] as const;
      await store.agentTasks.want(
        keys.map(([of, agentId]) => ({ ...wish(agentId), source: of })),
        context,
      );
      await store.agentTasks.withdraw([{ source, agentId: 'a' }], '', context);
      const list = async (page: Parameters<typeof store.agentTasks.list>[0]) =>
        (await store.agentTasks.list(page, context)).map((task) => [task.source, task.agentId, task.state]);
      const all = [
        ['conform', 'a', 'waiting'],
        ['restart', 'B', 'waiting'],
        ['restart', 'a', 'ended'],
        ['restart', 'b', 'waiting'],
      ];
      assert.deepEqual(await list({ limit: 10 }), all);
      assert.deepEqual(await list({ limit: 2 }), all.slice(0, 2));
      assert.deepEqual(await list({ limit: 2, after: { source, agentId: 'B' } }), all.slice(2));
      assert.deepEqual(await list({ limit: 9, agentId: 'a' }), [all[0], all[2]]);
      assert.deepEqual(await list({ limit: 9, source, onlyLive: true }), [all[1], all[3]]);
      assert.deepEqual(await list({ limit: 1, source, after: { source: 'conform', agentId: 'a' } }), [all[1]]);
    },
  },
  {
    name: 'says what is wrong with wishes and bindings before it stores anything',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const want = (...wishes: AgentTaskWish[]) => store.agentTasks.want(wishes, context);
      const invalid = 'STORE_INPUT_INVALID';
      await rejectsWith(want(wish('agent-1'), wish('')), invalid);
      await rejectsWith(want(wish('agent-1'), wish('agent-1')), invalid);
      await rejectsWith(want(wish('agent-1', { group: { name: 'g', max: 0 } })), invalid);
      await rejectsWith(want(wish('agent-1', { delayMs: -1 })), invalid);
      await rejectsWith(want(wish('agent-1', { expiresAfterMs: 0 })), invalid);
      const large = samplePayload();
      large.value = new Uint8Array(storeLimits.agentTaskPayloadBytesMax + 1);
      await rejectsWith(want(wish('agent-1', { payload: large })), 'PAYLOAD_TOO_LARGE');
      const many = Array.from({ length: storeLimits.agentTasksPerCallMax + 1 }, (_, index) => wish(`agent-${index}`));
      await rejectsWith(want(...many), 'STORE_CALL_TOO_LARGE');
      assert.deepEqual(await store.agentTasks.list({ limit: 10 }, context), []);
      await want(wish('agent-1'));
      const { revision } = await openTask(store, 'agent-1');
      const entry = { session: agent, revision, draft: sampleDraft({ source: 'job' }) };
      const bind = (entries: BindAgentTasks['entries']) =>
        store.agentTasks.bind({ source, entries, drainTtlMs: 60_000 }, context);
      await rejectsWith(bind([entry]), invalid);
      await rejectsWith(
        bind([
          { session: agent, revision },
          { session: agent, revision },
        ]),
        invalid,
      );
      await rejectsWith(store.agentTasks.settle(source, { backoffMs: [], failuresMax: 0 }, context), invalid);
      await rejectsWith(store.agentTasks.list({ limit: 1_001 }, context), invalid);
      assert.deepEqual(await bind([]), []);
      assert.deepEqual(await want(), []);
    },
  },
];
