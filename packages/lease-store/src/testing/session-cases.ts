import assert from 'node:assert/strict';
import { create } from '@bufbuild/protobuf';
import { AgentDescriptionSchema } from '@drover/lease-protocol';
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
  sampleSession,
} from './store-samples.ts';

const limits = { serverTtlMs: 10_000, graceMs: 20_000 };

/** What every session store does. */
export const sessionStoreCases: readonly StoreCase[] = [
  {
    name: 'gives each session a higher epoch and names the one that it fenced',
    async run({ store }) {
      const first = await openSample(store, 'agent-1', { sessionId: 's1', serverId: 'v1' });
      assert.equal(first.fenced, undefined);
      const second = await openSample(store, 'agent-1', { sessionId: 's2', serverId: 'v2' });
      assert.ok(second.epoch > first.epoch);
      assert.deepEqual(second.fenced, { sessionId: 's1', serverId: 'v1', epoch: first.epoch });
      await store.sessions.endSession({ agentId: 'agent-1', epoch: second.epoch }, 'bye', context);
      const third = await openSample(store, 'agent-1');
      assert.ok(third.epoch > second.epoch);
      assert.equal(third.fenced, undefined);
    },
  },
  {
    name: 'binds exactly the proven attempts to a new session and ends the others as lost',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const retry = { attemptsMax: 2, after: ['lost'] as const, onFailedWork: false, backoffMs: 0 };
      const offered = await boundSample(store, agent);
      const accepted = await boundSample(store, agent);
      const job = sampleJob([{}], agent);
      const [cancelling] = (await store.jobs.submit([job], context)).assigned;
      const unproven = await boundSample(store, agent);
      const retried = await boundSample(store, agent, { retry });
      const other = await boundSample(store, await sampleSession(store, 'agent-2'));
      assert.ok(cancelling);
      await store.attempts.record([acceptanceOf(accepted), acceptanceOf(unproven)], context);
      await store.jobs.wishCancel(job.jobId, 'enough', context);
      const { epoch, rebound, lost } = await openSample(store, 'agent-1', {
        proven: [
          offered,
          accepted,
          cancelling,
          { ...unproven, attempt: 2 },
          other,
          { leaseId: 'nonsense', attempt: 1 },
        ],
      });
      assert.deepEqual(
        new Map(rebound.map((record) => [record.leaseId, [record.state, record.epoch, record.cancelReason]])),
        new Map([
          [offered.leaseId, ['offered', epoch, undefined]],
          [accepted.leaseId, ['accepted', epoch, undefined]],
          [cancelling.leaseId, ['cancelling', epoch, 'enough']],
        ]),
      );
      assert.deepEqual(
        new Map(
          lost.map((attempt) => [attempt.leaseId, [attempt.final, attempt.epoch, attempt.source, attempt.agentId]]),
        ),
        new Map([
          [unproven.leaseId, [true, agent.epoch, 'job', 'agent-1']],
          [retried.leaseId, [false, agent.epoch, 'job', 'agent-1']],
        ]),
      );
      // The old session is fenced, for what moved on as for what was lost.
      const old = [accepted, unproven, retried];
      assert.deepEqual(
        await store.attempts.record(
          old.map((attempt) => endOf(attempt)),
          context,
        ),
        old.map(() => ({ result: 'fenced' })),
      );
      const current = endOf({ ...accepted, epoch });
      assert.deepEqual(await store.attempts.record([current], context), [{ result: 'persisted', final: true }]);
      const lease = await store.jobs.lease(unproven.leaseId, context);
      assert.deepEqual([lease.state, lease.attempts[0]?.end?.outcome], ['ended', 'lost']);
    },
  },
  {
    name: 'ends a session once, its attempts as lost',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const attempt = await boundSample(store, agent);
      assert.deepEqual(await store.sessions.endSession({ ...agent, epoch: 99 }, 'wrong', context), []);
      const lost = await store.sessions.endSession(agent, 'gone', context);
      assert.deepEqual(lost, [
        { ...agent, leaseId: attempt.leaseId, attempt: 1, source: 'job', outcome: 'lost', final: true },
      ]);
      assert.deepEqual(await store.sessions.endSession(agent, 'gone', context), []);
      assert.deepEqual(await store.attempts.record([acceptanceOf(attempt)], context), [{ result: 'fenced' }]);
    },
  },
  {
    name: 'remembers what an agent is, its condition and what its leases use',
    async run({ store }) {
      const description = create(AgentDescriptionSchema, {
        name: 'box',
        version: '1.2.3',
        properties: [{ key: 'os', value: 'linux' }],
        resources: { cores: 8n },
        payloadTypes: ['a.B'],
      });
      const { epoch } = await openSample(store, 'agent-1', { description, sessionId: 's1', serverId: 'v1' });
      const agent = { agentId: 'agent-1', epoch };
      await boundSample(store, agent, { requirements: { resources: { cores: 2 } } });
      await boundSample(store, agent, { requirements: { resources: { cores: 1, gpu: 1 } } });
      await sampleSession(store, 'agent-2');
      await sampleSession(store, 'agent-0');
      await store.sessions.recordCondition(agent, { condition: 'busy' }, context);
      await store.sessions.recordCondition({ ...agent, epoch: epoch - 1 }, { condition: 'unhealthy' }, context);
      const [record] = await store.sessions.agents({ after: 'agent-0', limit: 1 }, context);
      assert.equal(record?.agentId, 'agent-1');
      assert.deepEqual(record?.description, description);
      assert.equal(record?.condition, 'busy');
      assert.equal(record?.leftAtMs, undefined);
      assert.deepEqual([record?.session?.sessionId, record?.session?.serverId], ['s1', 'v1']);
      assert.equal(record?.leases, 2);
      assert.deepEqual(record?.resourcesUsed, { cores: 3, gpu: 1 });
      const grown = create(AgentDescriptionSchema, { ...description, version: '1.2.4' });
      await store.sessions.recordDescription(agent, grown, context);
      await store.sessions.recordDescription({ ...agent, epoch: epoch - 1 }, description, context);
      const [described] = await store.sessions.agents({ after: 'agent-0', limit: 1 }, context);
      assert.equal(described?.description.version, '1.2.4');
      await store.sessions.endSession(agent, 'gone', context);
      const [ended] = await store.sessions.agents({ after: 'agent-0', limit: 1 }, context);
      assert.deepEqual([ended?.session, ended?.leases], [undefined, 0]);
      assert.ok(ended?.leftAtMs !== undefined);
      const all = await store.sessions.agents({ limit: 10 }, context);
      assert.deepEqual(
        all.map(({ agentId }) => agentId),
        ['agent-0', 'agent-1', 'agent-2'],
      );
      await openSample(store, 'agent-1');
      assert.equal((await store.sessions.agents({ after: 'agent-0', limit: 1 }, context))[0]?.condition, 'ready');
    },
  },
  {
    name: 'remembers why an agent is in its condition, until it says otherwise or opens a new session',
    async run({ store }) {
      const reason = { code: 'DISK_SPACE_LOW', message: 'the disk of /work is full' };
      const agent = await sampleSession(store, 'agent-1');
      const read = async () => {
        const [record] = await store.sessions.agents({ limit: 1 }, context);
        return [record?.condition, record?.conditionReason];
      };
      await store.sessions.recordCondition(agent, { condition: 'unhealthy', reason }, context);
      assert.deepEqual(await read(), ['unhealthy', reason]);
      await store.sessions.recordCondition(agent, { condition: 'ready' }, context);
      assert.deepEqual(await read(), ['ready', undefined]);
      const long = { code: 'LONG', message: `a\0${'é'.repeat(storeLimits.messageBytesMax)}` };
      await store.sessions.recordCondition(agent, { condition: 'busy', reason: long }, context);
      const [, cut] = await read();
      assert.ok(typeof cut === 'object' && Buffer.byteLength(cut.message) <= storeLimits.messageBytesMax);
      const stale = { ...agent, epoch: agent.epoch - 1 };
      await store.sessions.recordCondition(stale, { condition: 'ready' }, context);
      assert.equal((await read())[0], 'busy');
      await openSample(store, 'agent-1');
      assert.deepEqual(await read(), ['ready', undefined]);
      const nameless = { condition: 'busy', reason: { code: '', message: '' } } as const;
      await rejectsWith(store.sessions.recordCondition(agent, nameless, context), 'STORE_INPUT_INVALID');
    },
  },
  {
    name: 'remembers what an agent says that it is now, of its current session alone',
    async run({ store }) {
      const now = create(AgentDescriptionSchema, { name: 'box', properties: [{ key: 'ram', value: '1' }] });
      const stale = create(AgentDescriptionSchema, { name: 'stale' });
      const read = async () => (await store.sessions.agents({ limit: 1 }, context))[0]?.description;
      const agent = await sampleSession(store, 'agent-1');
      await store.sessions.recordDescription(agent, now, context);
      assert.deepEqual(await read(), now);
      await store.sessions.recordDescription({ ...agent, epoch: agent.epoch - 1 }, stale, context);
      await store.sessions.recordDescription({ ...agent, agentId: 'nobody' }, stale, context);
      assert.deepEqual(await read(), now);
      const huge = create(AgentDescriptionSchema, { name: 'x'.repeat(storeLimits.descriptionBytesMax + 1) });
      await rejectsWith(store.sessions.recordDescription(agent, huge, context), 'STORE_CALL_TOO_LARGE');
      await store.sessions.endSession(agent, 'gone', context);
      await store.sessions.recordDescription(agent, stale, context);
      assert.deepEqual(await read(), now);
    },
  },
  {
    name: 'ends the sessions of a server that has died, after its agents had time to reach another',
    async run({ store, elapse }) {
      await store.sessions.beat('dies', context);
      await store.sessions.beat('lives', context);
      const stays = { agentId: 'stays', epoch: (await openSample(store, 'stays', { serverId: 'dies' })).epoch };
      const moves = { agentId: 'moves', epoch: (await openSample(store, 'moves', { serverId: 'dies' })).epoch };
      const safe = { agentId: 'safe', epoch: (await openSample(store, 'safe', { serverId: 'lives' })).epoch };
      const lost = await boundSample(store, stays);
      const moved = await boundSample(store, moves);
      const kept = await boundSample(store, safe);
      await elapse(29_000);
      await store.sessions.beat('lives', context);
      assert.deepEqual(await store.sessions.sweep(limits, context), []);
      const { epoch } = await openSample(store, 'moves', { serverId: 'lives', proven: [moved] });
      await elapse(1_500);
      const swept = await store.sessions.sweep(limits, context);
      assert.deepEqual(swept, [
        { ...stays, leaseId: lost.leaseId, attempt: 1, source: 'job', outcome: 'lost', final: true },
      ]);
      assert.deepEqual(await store.sessions.sweep(limits, context), []);
      const results = await store.attempts.record([endOf(kept), endOf({ ...moved, epoch }), endOf(lost)], context);
      assert.deepEqual(
        results.map(({ result }) => result),
        ['persisted', 'persisted', 'fenced'],
      );
      assert.deepEqual(await claimAll(store, [stays]), []);
    },
  },
  {
    name: 'gives the agents of a server that left only the grace period, and a server that came back all its time',
    async run({ store, elapse }) {
      await store.sessions.beat('leaves', context);
      await store.sessions.beat('returns', context);
      const one = { agentId: 'one', epoch: (await openSample(store, 'one', { serverId: 'leaves' })).epoch };
      const two = { agentId: 'two', epoch: (await openSample(store, 'two', { serverId: 'returns' })).epoch };
      await boundSample(store, one);
      await boundSample(store, two);
      await store.sessions.leave('leaves', context);
      await store.sessions.leave('returns', context);
      await store.sessions.beat('returns', context);
      await elapse(20_500);
      const swept = await store.sessions.sweep(limits, context);
      assert.deepEqual(
        swept.map(({ agentId }) => agentId),
        ['one'],
      );
    },
  },
  {
    name: 'quarantines an agent id that two processes take from each other',
    async run({ store, elapse }) {
      let announced: unknown;
      const stop = store.signals.listen((signal) => (announced = signal));
      const open = (instanceNonce: string) => openSample(store, 'agent-1', { instanceNonce });
      let last = 0;
      for (let round = 0; round < storeLimits.takeoversMax; round += 1) {
        last = (await open(round % 2 === 0 ? 'a' : 'b')).epoch;
      }
      // The same process again is no takeover.
      last = (await open(storeLimits.takeoversMax % 2 === 0 ? 'b' : 'a')).epoch;
      const attempt = await boundSample(store, { agentId: 'agent-1', epoch: last });
      await rejectsWith(open('c'), 'AGENT_QUARANTINED');
      await Promise.resolve();
      assert.deepEqual(announced, { kind: 'fenced', agentId: 'agent-1', epoch: last + 1 });
      stop();
      await rejectsWith(open('a'), 'AGENT_QUARANTINED');
      assert.deepEqual(await store.queue.enqueue([sampleEntry({}, { agentId: 'agent-1', epoch: last })], context), []);
      const [agent] = await store.sessions.agents({ limit: 1 }, context);
      assert.equal(agent?.session, undefined);
      assert.ok(agent?.quarantinedUntilMs);
      const swept = await store.sessions.sweep(limits, context);
      assert.deepEqual(
        swept.map(({ leaseId }) => leaseId),
        [attempt.leaseId],
      );
      await elapse(storeLimits.quarantineMs + 1);
      assert.ok((await open('b')).epoch > last);
      assert.equal((await store.sessions.agents({ limit: 1 }, context))[0]?.quarantinedUntilMs, undefined);
    },
  },
  {
    name: 'lets processes replace each other as often as they want when it takes them long, or the session had ended',
    async run({ store, elapse }) {
      for (let round = 0; round < 6; round += 1) {
        await openSample(store, 'slow', { instanceNonce: `process ${round}` });
        await elapse(storeLimits.takeoverWindowMs / 2);
        const { epoch } = await openSample(store, 'polite', { instanceNonce: `process ${round}` });
        await store.sessions.endSession({ agentId: 'polite', epoch }, 'restart', context);
      }
    },
  },
  {
    name: 'says what is wrong with a session before it changes anything',
    async run({ store }) {
      await rejectsWith(openSample(store, 'a\0b'), 'STORE_INPUT_INVALID');
      await rejectsWith(openSample(store, ''), 'STORE_INPUT_INVALID');
      await rejectsWith(openSample(store, 'x'.repeat(storeLimits.idLengthMax + 1)), 'STORE_INPUT_INVALID');
      await rejectsWith(openSample(store, 'a', { instanceNonce: '\0' }), 'STORE_INPUT_INVALID');
      const proven = Array.from({ length: storeLimits.writesPerCallMax + 1 }, () => ({ leaseId: 'x', attempt: 1 }));
      await rejectsWith(openSample(store, 'a', { proven }), 'STORE_CALL_TOO_LARGE');
      const name = 'x'.repeat(storeLimits.descriptionBytesMax);
      const description = create(AgentDescriptionSchema, { name });
      await rejectsWith(openSample(store, 'a', { description }), 'STORE_CALL_TOO_LARGE');
      assert.deepEqual(await store.sessions.agents({ limit: 10 }, context), []);
    },
  },
];
