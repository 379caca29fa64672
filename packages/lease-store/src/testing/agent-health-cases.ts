import assert from 'node:assert/strict';
import type { AgentHealth } from '@drover/agent-health';
import type { SessionRef } from '../lease-queue.ts';
import type { DroverStore } from '../drover-store.ts';
import type { StoreCase } from './compliance-case.ts';
import { endOf, openSample, rejectsWith, sampleContext as context, sampleJob, sampleSession } from './store-samples.ts';

const windowMs = 3_600_000;

function health(changes: Partial<AgentHealth> = {}): AgentHealth {
  const base = { state: 'suspected', isWithheld: true, sinceMs: 1, reason: 'failed 3 leases', evidence: [] } as const;
  return { ...base, rounds: 0, canaryDueMs: 5, ...changes };
}

/** Claims all that waits for an agent and ends it. */
async function endAll(
  store: DroverStore,
  session: SessionRef,
  ...how: [Parameters<typeof endOf>[1]?, Parameters<typeof endOf>[2]?]
): Promise<void> {
  const classes = await store.queue.waitingClasses('job', context);
  const attempts = await store.queue.claim(
    {
      source: 'job',
      classIds: classes.map(({ classId }) => classId),
      places: Array.from({ length: 8 }, () => session),
    },
    context,
  );
  await store.attempts.record(
    attempts.map((attempt) => endOf(attempt, ...how)),
    context,
  );
}

/** What every store of agents' health does. */
export const agentHealthStoreCases: readonly StoreCase[] = [
  {
    name: 'tells of bad ends alone, where the lease succeeded then, and how many of its kind did',
    async run({ store, elapse }) {
      const { agentHealth, jobs } = store;
      const [bad, good] = [await sampleSession(store, 'bad'), await sampleSession(store, 'good')];
      const retry = { attemptsMax: 2, after: ['failed'] as const, onFailedWork: true, backoffMs: 0 };
      const first = sampleJob([{ retry, name: 'one' }], bad);
      const { assigned } = await jobs.submit([first], context);
      assert.deepEqual((await agentHealth.facts(windowMs, context)).ends, []);
      const failed = { succeeded: false };
      await store.attempts.record([endOf(assigned[0]!, 'completed', failed)], context);
      const [end, ...more] = (await agentHealth.facts(windowMs, context)).ends;
      assert.deepEqual(more, []);
      assert.deepEqual(
        [end?.agentId, end?.leaseId, end?.attempt, end?.name, end?.outcome, end?.code, end?.succeededOn],
        ['bad', first.leases[0]!.draft.leaseId, 1, 'one', 'completed', '', undefined],
      );
      assert.ok(end);
      assert.ok(end.kind.startsWith(first.jobId));
      await endAll(store, good, 'completed', { succeeded: true });
      await jobs.submit([sampleJob([{}, {}])], context);
      await endAll(store, good);
      const facts = await agentHealth.facts(windowMs, context);
      assert.deepEqual(
        facts.ends.map(({ agentId, succeededOn }) => [agentId, succeededOn]),
        [['bad', 'good']],
      );
      assert.deepEqual(
        facts.successes.map(({ kind, agentId, leases }) => [kind, agentId, leases]),
        [[end.kind, 'good', 1]],
      );
      assert.ok(Math.abs(facts.nowMs - end.endedAtMs) < 60_000);
      await jobs.submit([sampleJob([{}, {}])], context);
      await endAll(store, bad, 'timed-out', { reason: { code: 'RUN_LIMIT_PASSED', message: '' } });
      const late = (await agentHealth.facts(windowMs, context)).ends.find(({ outcome }) => outcome === 'timed-out');
      assert.deepEqual([late?.outcome, late?.code, late?.succeededOn], ['timed-out', 'RUN_LIMIT_PASSED', undefined]);
      // What nobody submitted, what was cancelled and what was refused says nothing.
      await store.queue.enqueue([{ draft: sampleJob().leases[0]!.draft }], context);
      await endAll(store, bad, 'failed');
      await jobs.submit([sampleJob()], context);
      await endAll(store, bad, 'cancelled');
      await jobs.submit([sampleJob()], context);
      await endAll(store, bad, 'refused');
      assert.equal((await agentHealth.facts(windowMs, context)).ends.length, 3);
      await elapse(windowMs + 1_000);
      assert.deepEqual((await agentHealth.facts(windowMs, context)).ends, []);
    },
  },
  {
    name: 'lets one caller look at the facts at a time',
    async run({ store: { agentHealth }, elapse }) {
      await elapse(86_400_000);
      assert.deepEqual(
        [await agentHealth.claimPass(60_000, context), await agentHealth.claimPass(60_000, context)],
        [true, false],
      );
      await elapse(61_000);
      assert.equal(await agentHealth.claimPass(60_000, context), true);
      await rejectsWith(agentHealth.claimPass(0, context), 'STORE_INPUT_INVALID');
    },
  },
  {
    name: 'withholds agents up to the caps of all their pools, and leaves those beyond at work',
    async run({ store }) {
      const { agentHealth } = store;
      for (const agentId of ['agent-1', 'agent-2', 'agent-3']) await sampleSession(store, agentId);
      const caps = [
        { pool: 'linux', max: 1 },
        { pool: '*', max: 2 },
      ];
      const change = (agentId: string, revision: number, next: AgentHealth | 'healthy', given = caps) =>
        agentHealth.change([{ agentId, revision, next, caps: given }], context);
      assert.deepEqual(
        await agentHealth.change(
          ['agent-1', 'agent-2', 'nobody'].map((agentId) => ({ agentId, revision: 0, next: health(), caps })),
          context,
        ),
        [
          { agentId: 'agent-1', result: 'written' },
          { agentId: 'agent-2', result: 'full', pool: 'linux' },
          { agentId: 'nobody', result: 'changed' },
        ],
      );
      const [one, two, ...rest] = await agentHealth.records({ limit: 10 }, context);
      assert.deepEqual(rest, []);
      assert.deepEqual(one, { ...health(), agentId: 'agent-1', revision: 1, pools: ['linux', '*'] });
      const { canaryDueMs: _, ...atWork } = health({ isWithheld: false });
      assert.deepEqual(two, { ...atWork, agentId: 'agent-2', revision: 1, pools: [] });
      // Whoever is withheld stays so whatever the caps say now, and another revision changes nothing.
      const quarantined = health({ state: 'quarantined' });
      assert.deepEqual(await change('agent-1', 7, quarantined), [{ agentId: 'agent-1', result: 'changed' }]);
      assert.deepEqual(await change('agent-1', 1, quarantined), [{ agentId: 'agent-1', result: 'written' }]);
      const elsewhere = [{ pool: '*', max: 2 }];
      assert.deepEqual(await change('agent-3', 0, health(), elsewhere), [{ agentId: 'agent-3', result: 'written' }]);
      assert.deepEqual(await change('agent-2', 1, health(), elsewhere), [
        { agentId: 'agent-2', result: 'full', pool: '*' },
      ]);
      // Asking again in vain writes nothing.
      assert.equal((await agentHealth.recordsOf(['agent-2', 'nobody'], context))[0]?.revision, 1);
      await change('agent-1', 2, health({ state: 'cleared', isWithheld: false }));
      assert.deepEqual(await change('agent-2', 1, health()), [{ agentId: 'agent-2', result: 'written' }]);
      await change('agent-2', 2, 'healthy');
      assert.deepEqual(
        (await agentHealth.records({ limit: 10 }, context)).map(({ agentId, state, pools }) => [agentId, state, pools]),
        [
          ['agent-1', 'cleared', []],
          ['agent-3', 'suspected', ['*']],
        ],
      );
      assert.deepEqual(
        (await agentHealth.records({ limit: 10, after: 'agent-1' }, context)).map(({ agentId }) => agentId),
        ['agent-3'],
      );
    },
  },
  {
    name: 'lets agents work again when somebody says so, all or none, and forgets health with the agent',
    async run({ store }) {
      const { agentHealth, sessions } = store;
      const { epoch } = await openSample(store, 'agent-1');
      await sampleSession(store, 'agent-2');
      const caps = [{ pool: '*', max: 1 }];
      await agentHealth.change([{ agentId: 'agent-1', revision: 0, next: health({ rounds: 3 }), caps }], context);
      await rejectsWith(agentHealth.clear(['agent-1', 'nobody'], '', context), 'AGENT_NOT_FOUND');
      assert.equal((await agentHealth.recordsOf(['agent-1'], context))[0]?.isWithheld, true);
      const before = await agentHealth.clear(['agent-1', 'agent-2'], 'new disk', context);
      assert.deepEqual(
        before.map(({ agentId, state }) => [agentId, state]),
        [['agent-1', 'suspected']],
      );
      const after = await agentHealth.recordsOf(['agent-1', 'agent-2'], context);
      for (const one of after) {
        const { state, isWithheld, rounds, pools, clearedBy, reason, clearedAtMs } = one;
        assert.deepEqual([state, isWithheld, rounds, pools], ['cleared', false, 0, []]);
        assert.deepEqual([clearedBy, reason], ['service:compliance', 'was cleared by service:compliance: new disk']);
        assert.ok(clearedAtMs! > 0);
      }
      assert.equal(after.length, 2);
      await sessions.endSession({ agentId: 'agent-1', epoch }, 'gone', context);
      await sessions.removeAgent('agent-1', context);
      assert.deepEqual(await agentHealth.recordsOf(['agent-1'], context), []);
    },
  },
];
