import assert from 'node:assert/strict';
import { rolloutGroup } from '@drover/agent-rollouts';
import type { RolloutDraft } from '../rollout-store.ts';
import type { StoreCase } from './compliance-case.ts';
import { rejectsWith, sampleContext as context, sampleDraft, samplePayload, sampleSession } from './store-samples.ts';

const ids = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222'] as const;
const draft: RolloutDraft = {
  channel: 'stable',
  rolloutId: ids[0],
  version: '2.0.0',
  bundles: [{ platform: 'any', hash: 'a'.repeat(64), sizeBytes: 5, signature: '{"a":"ü"}' }],
  rings: [1, 10.5, 100],
  soakMs: 1_000,
  atOnceMax: 5,
  healthyWithinMs: 60_000,
  allowDowngrade: false,
};

/** What every store of roll-outs does. */
export const rolloutStoreCases: readonly StoreCase[] = [
  {
    name: 'keeps one roll-out a channel, through its rings',
    async run({ store: { rollouts }, elapse }) {
      assert.equal(await rollouts.rollout('stable', context), undefined);
      const started = await rollouts.startRollout(draft, context);
      const { startedAtMs, ...rest } = started;
      assert.ok(startedAtMs > 0);
      assert.deepEqual(rest, { ...draft, revision: 1, state: 'rolling', ring: 0, startedBy: 'service:compliance' });
      assert.deepEqual(await rollouts.rollout('stable', context), started);
      const done = await rollouts.changeRollout('stable', 1, { kind: 'ring-done' }, context);
      assert.ok(done.ringDoneForMs !== undefined && done.ringDoneForMs < 60_000);
      await elapse(120_000);
      assert.ok((await rollouts.rollout('stable', context))!.ringDoneForMs! >= 120_000);
      const next = await rollouts.changeRollout('stable', 2, { kind: 'next-ring' }, context);
      assert.deepEqual([next.ring, next.ringDoneForMs, next.revision], [1, undefined, 3]);
      const complete = await rollouts.changeRollout('stable', 3, { kind: 'complete' }, context);
      assert.deepEqual([complete.ring, complete.state], [2, 'complete']);
      await rejectsWith(rollouts.changeRollout('stable', 4, { kind: 'next-ring' }, context), 'ROLLOUT_STATE');
    },
  },
  {
    name: 'binds nothing of a roll-out that is halted, or replaced, though it was looked at before',
    async run({ store }) {
      const { rollouts, agentTasks } = store;
      const session = await sampleSession(store, 'agent-1');
      const want = async (rolloutId: string) => {
        const group = { name: rolloutGroup(rolloutId), max: 5 };
        await agentTasks.want([{ source: 'upgrade', agentId: 'agent-1', payload: samplePayload(1), group }], context);
        return (await agentTasks.open('upgrade', context))[0]!.revision;
      };
      const bind = async (revision: number) => {
        const entries = [{ session, revision, draft: sampleDraft({ source: 'upgrade' }) }];
        return (await agentTasks.bind({ source: 'upgrade', entries, drainTtlMs: 1_000 }, context))[0]!.result;
      };
      await rollouts.startRollout(draft, context);
      const looked = await want(ids[0]);
      const reason = { code: 'BAD', message: 'it is bad' };
      const other = await rollouts.startRollout({ ...draft, channel: 'canary', rolloutId: ids[1] }, context);
      await rollouts.changeRollout('canary', other.revision, { kind: 'halt', reason }, context);
      assert.equal((await agentTasks.open('upgrade', context)).length, 1);
      await rollouts.changeRollout('stable', 1, { kind: 'halt', reason }, context);
      assert.equal(await bind(looked), 'changed');
      assert.deepEqual(await agentTasks.open('upgrade', context), []);

      const again = await want(ids[0]);
      await rollouts.startRollout({ ...draft, rolloutId: '33333333-3333-4333-8333-333333333333' }, context);
      assert.equal(await bind(again), 'changed');
      // What a lease carries goes on to its end.
      assert.equal(await bind(await want('33333333-3333-4333-8333-333333333333')), 'bound');
      const { revision } = (await rollouts.rollout('stable', context))!;
      await rollouts.changeRollout('stable', revision, { kind: 'halt', reason }, context);
      assert.equal((await agentTasks.list({ limit: 1 }, context))[0]!.state, 'carried');
    },
  },
  {
    name: 'halts and resumes a roll-out, once',
    async run({ store: { rollouts } }) {
      await rollouts.startRollout(draft, context);
      await rejectsWith(
        rollouts.changeRollout('stable', 1, { kind: 'resume', rolloutId: ids[1] }, context),
        'ROLLOUT_STATE',
      );
      const reason = { code: 'BAD', message: 'it is bad' };
      // Two servers at once: one is told to look again.
      const both = await Promise.allSettled(
        [0, 1].map(() => rollouts.changeRollout('stable', 1, { kind: 'halt', reason }, context)),
      );
      assert.equal(both.filter(({ status }) => status === 'fulfilled').length, 1);
      const halted = (await rollouts.rollout('stable', context))!;
      assert.deepEqual([halted.state, halted.reason, halted.revision], ['halted', reason, 2]);
      await rejectsWith(rollouts.changeRollout('stable', 1, { kind: 'halt', reason }, context), 'ROLLOUT_CHANGED');
      await rejectsWith(rollouts.changeRollout('other', 1, { kind: 'halt', reason }, context), 'ROLLOUT_NOT_FOUND');
      const resumed = await rollouts.changeRollout('stable', 2, { kind: 'resume', rolloutId: ids[1] }, context);
      assert.deepEqual([resumed.state, resumed.reason, resumed.rolloutId], ['rolling', undefined, ids[1]]);
    },
  },
  {
    name: 'remembers what a channel had before: the last that was complete',
    async run({ store: { rollouts } }) {
      const start = (version: string) => rollouts.startRollout({ ...draft, version }, context);
      const first = await start('1.0.0');
      assert.equal(first.previous, undefined);
      await rollouts.changeRollout('stable', first.revision, { kind: 'complete' }, context);
      const second = await start('2.0.0');
      assert.deepEqual(second.previous, { version: '1.0.0', bundles: draft.bundles });
      const third = await start('3.0.0');
      assert.equal(third.previous?.version, '1.0.0');
      assert.equal(third.revision, second.revision + 1);
    },
  },
  {
    name: 'pages channels by name, and takes no roll-out that cannot be',
    async run({ store: { rollouts } }) {
      for (const channel of ['stable', 'canary', 'beta']) await rollouts.startRollout({ ...draft, channel }, context);
      const names = async (page: { after?: string; limit: number }) =>
        (await rollouts.rollouts(page, context)).map(({ channel }) => channel);
      assert.deepEqual(await names({ limit: 2 }), ['beta', 'canary']);
      assert.deepEqual(await names({ limit: 2, after: 'canary' }), ['stable']);
      await rejectsWith(rollouts.startRollout({ ...draft, rings: [100, 1] }, context), 'ROLLOUT_INVALID');
      await rejectsWith(rollouts.startRollout({ ...draft, rolloutId: 'x' }, context), 'STORE_INPUT_INVALID');
      await rejectsWith(rollouts.rollouts({ limit: 0 }, context), 'STORE_INPUT_INVALID');
    },
  },
];
