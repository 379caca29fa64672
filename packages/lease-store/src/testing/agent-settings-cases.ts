import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { AgentDescriptionSchema } from '@drover/lease-protocol';
import type { AgentTaskWish } from '../agent-task-store.ts';
import type { DowntimeDraft } from '../agent-settings-store.ts';
import type { StoreCase } from './compliance-case.ts';
import {
  boundSample,
  openSample,
  rejectsWith,
  sampleContext as context,
  sampleEntry,
  sampleSession,
} from './store-samples.ts';

const sweepLimits = { serverTtlMs: 10_000, graceMs: 20_000 };

function downtime(changes: Partial<DowntimeDraft> = {}): DowntimeDraft {
  return {
    downtimeId: randomUUID(),
    schedule: { kind: 'weekly', days: [1, 7], time: '22:30', timeZone: 'Europe/Berlin' },
    durationMs: 7_200_000,
    agents: ['agent-1'],
    pools: ['linux'],
    comment: 'patches',
    ...changes,
  };
}

function wish(agentId: string, source = 'shutdown'): AgentTaskWish {
  return { source, agentId, payload: create(AnySchema, { typeUrl: 'type.googleapis.com/drover.test.v1.Off' }) };
}

/** What every store of agents' settings does. */
export const agentSettingsStoreCases: readonly StoreCase[] = [
  {
    name: 'remembers who disabled agents and why, for all that are named or for none',
    async run({ store }) {
      const { agentSettings } = store;
      for (const agentId of ['agent-1', 'agent-2', 'agent-3']) await sampleSession(store, agentId);
      const off = { enabled: false, comment: 'smells of smoke' };
      await rejectsWith(agentSettings.setEnabled(['agent-1', 'nobody'], off, context), 'AGENT_NOT_FOUND');
      assert.deepEqual(await agentSettings.settings({ limit: 10 }, context), []);
      await agentSettings.setEnabled(['agent-1', 'agent-2', 'agent-1'], off, context);
      await agentSettings.setEnabled(['agent-2'], { enabled: true, comment: '' }, context);
      const [disabled, ...more] = await agentSettings.settings({ limit: 10 }, context);
      assert.deepEqual(more, []);
      assert.equal(disabled?.agentId, 'agent-1');
      assert.deepEqual([disabled.disabled?.comment, disabled.disabled?.by], ['smells of smoke', 'service:compliance']);
      assert.ok((disabled.disabled?.atMs ?? 0) > 0);
      assert.deepEqual(await agentSettings.settingsOf(['agent-3', 'agent-1', 'nobody'], context), [disabled]);
      assert.deepEqual(await agentSettings.settings({ after: 'agent-1', limit: 10 }, context), []);
      await rejectsWith(agentSettings.setEnabled([], off, context), 'STORE_INPUT_INVALID');
      const long = { enabled: false, comment: 'x'.repeat(1_025) };
      await rejectsWith(agentSettings.setEnabled(['agent-1'], long, context), 'STORE_INPUT_INVALID');
    },
  },
  {
    name: 'makes agents busy for a while, which ends by itself or by command',
    async run({ store, elapse }) {
      const { agentSettings } = store;
      await sampleSession(store, 'agent-1');
      await agentSettings.setBusy(['agent-1'], { busyForMs: 60_000, comment: 'demo' }, context);
      const [one] = await agentSettings.settings({ limit: 10 }, context);
      assert.deepEqual([one?.busy?.comment, one?.busy?.by, one?.disabled], ['demo', 'service:compliance', undefined]);
      assert.ok(Math.abs(one!.busy!.untilMs - one!.busy!.atMs - 60_000) < 1_000);
      await agentSettings.setEnabled(['agent-1'], { enabled: false, comment: '' }, context);
      await elapse(61_000);
      const [still] = await agentSettings.settings({ limit: 10 }, context);
      assert.deepEqual([still?.busy, still?.disabled?.comment], [undefined, '']);
      await agentSettings.setEnabled(['agent-1'], { enabled: true, comment: '' }, context);
      await agentSettings.setBusy(['agent-1'], { busyForMs: 60_000, comment: '' }, context);
      await agentSettings.setBusy(['agent-1'], { busyForMs: 0, comment: '' }, context);
      assert.deepEqual(await agentSettings.settings({ limit: 10 }, context), []);
    },
  },
  {
    name: 'keeps downtimes as they were written, and forgets those that are long over',
    async run({ store: { agentSettings } }) {
      const weekly = downtime();
      const added = await agentSettings.addDowntime(weekly, context);
      assert.deepEqual({ ...added, atMs: 0 }, { ...weekly, by: 'service:compliance', atMs: 0 });
      assert.deepEqual(await agentSettings.downtimes({ limit: 10 }, context), [added]);
      const past = { schedule: { kind: 'once', startMs: 1_000 } as const, durationMs: 60_000 };
      const gone = await agentSettings.addDowntime(downtime(past), context);
      await agentSettings.addDowntime(downtime({ agents: [], pools: [] }), context);
      const ids = (await agentSettings.downtimes({ limit: 10 }, context)).map(({ downtimeId }) => downtimeId);
      assert.equal(ids.length, 2);
      assert.ok(!ids.includes(gone.downtimeId));
      assert.deepEqual(ids, ids.toSorted());
      assert.deepEqual(
        (await agentSettings.downtimes({ after: ids[0]!, limit: 1 }, context)).map(({ downtimeId }) => downtimeId),
        ids.slice(1),
      );
      assert.deepEqual(await agentSettings.removeDowntime(weekly.downtimeId, context), added);
      await rejectsWith(agentSettings.removeDowntime(weekly.downtimeId, context), 'DOWNTIME_NOT_FOUND');
      await rejectsWith(agentSettings.removeDowntime('nonsense', context), 'DOWNTIME_NOT_FOUND');
      for (const wrong of [
        { durationMs: 0 },
        { durationMs: 8 * 86_400_000 },
        { schedule: { kind: 'daily', time: '24:00', timeZone: 'UTC' } as const },
        { schedule: { kind: 'weekly', days: [], time: '12:00', timeZone: 'UTC' } as const },
      ]) {
        await rejectsWith(agentSettings.addDowntime(downtime(wrong), context), 'STORE_INPUT_INVALID');
      }
    },
  },
  {
    name: 'forgets an agent without a session with its settings and what was wanted of it, and never gives an epoch again',
    async run({ store }) {
      const { sessions, agentSettings, agentTasks } = store;
      const { epoch } = await openSample(store, 'agent-1');
      await agentSettings.setEnabled(['agent-1'], { enabled: false, comment: '' }, context);
      await agentTasks.want([wish('agent-1'), wish('agent-1', 'upgrade')], context);
      await rejectsWith(sessions.removeAgent('agent-1', context), 'AGENT_ONLINE');
      await sessions.endSession({ agentId: 'agent-1', epoch }, 'gone', context);
      assert.equal((await sessions.agent('agent-1', context)).agentId, 'agent-1');
      await sessions.removeAgent('agent-1', context);
      await rejectsWith(sessions.agent('agent-1', context), 'AGENT_NOT_FOUND');
      await rejectsWith(sessions.removeAgent('agent-1', context), 'AGENT_NOT_FOUND');
      assert.deepEqual(await agentSettings.settings({ limit: 10 }, context), []);
      assert.ok((await openSample(store, 'agent-1')).epoch > epoch);
      assert.deepEqual(await agentSettings.settingsOf(['agent-1'], context), []);
      // Another machine of that name must not be switched off for the one that is gone.
      assert.deepEqual(await agentTasks.list({ limit: 10 }, context), []);
    },
  },
  {
    name: 'forgets ephemeral agents that have left, when their attempts have ended',
    async run({ store, elapse }) {
      const { sessions } = store;
      const description = create(AgentDescriptionSchema, { ephemeral: true, leasesMax: 1 });
      const left = await openSample(store, 'left', { description });
      const here = await openSample(store, 'here', { description });
      const dead = await openSample(store, 'dead', { description, serverId: 'dies' });
      await openSample(store, 'other');
      await sessions.beat('server-1', context);
      await boundSample(store, { agentId: 'dead', epoch: dead.epoch });
      await boundSample(store, { agentId: 'here', epoch: here.epoch });
      await store.agentTasks.want([wish('left'), wish('here')], context);
      await sessions.endSession({ agentId: 'left', epoch: left.epoch }, 'done', context);
      await sessions.sweep(sweepLimits, context);
      const ids = async () => (await sessions.agents({ limit: 10 }, context)).map(({ agentId }) => agentId);
      assert.deepEqual(await ids(), ['dead', 'here', 'other']);
      const wanted = await store.agentTasks.list({ limit: 10 }, context);
      assert.deepEqual(
        wanted.map(({ agentId }) => agentId),
        ['here'],
      );
      await elapse(31_000);
      await sessions.beat('server-1', context);
      assert.equal((await sessions.sweep(sweepLimits, context)).length, 1);
      await sessions.sweep(sweepLimits, context);
      assert.deepEqual(await ids(), ['here', 'other']);
      assert.ok((await openSample(store, 'dead', { description })).epoch > dead.epoch);
    },
  },
  {
    name: 'counts what waits by class, with what is not due yet',
    async run({ store }) {
      assert.deepEqual(await store.queue.waitingWork(context), []);
      const agent = await sampleSession(store, 'agent-1');
      const retry = { attemptsMax: 2, after: ['lost'] as const, onFailedWork: false, backoffMs: 60_000 };
      await store.queue.enqueue(
        [sampleEntry({ requirements: { pool: 'a' } }), sampleEntry({ requirements: { pool: 'a' } }), sampleEntry()],
        context,
      );
      await boundSample(store, agent, { retry, source: 'other' });
      await boundSample(store, agent, { source: 'bound' });
      await store.sessions.endSession(agent, 'gone', context);
      const work = await store.queue.waitingWork(context);
      assert.deepEqual(
        work
          .map(({ source, requirements, leases, payloadType }) => [source, requirements.pool, leases, payloadType])
          .toSorted(),
        [
          ['job', undefined, 1, 'drover.test.v1.Work'],
          ['job', 'a', 2, 'drover.test.v1.Work'],
          ['other', undefined, 1, 'drover.test.v1.Work'],
        ].toSorted(),
      );
      assert.ok(work.every(({ oldestAtMs }) => oldestAtMs > 0));
    },
  },
];
