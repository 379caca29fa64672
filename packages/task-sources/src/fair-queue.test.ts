import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { AgentView, LeaseDraft, LeaseRequirements } from '@drover/lease-kit';
import { ManualClock } from '@drover/lease-kit/testing';
import { AgentDescriptionSchema } from '@drover/lease-protocol';
import { createMemoryStore } from '@drover/lease-store';
import { endOf } from '@drover/lease-store/testing';
import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createQueueTaskSource, type QueueTaskSourceDeps } from './queue-task-source.ts';

const context = { principal: { kind: 'service', id: 'test' } } as const;
const agedAfterMs = 60_000;
const holdBackAfterMs = 30_000;

/** One agent of four cores whose leases end when the test says so, and a queue in a memory store. */
async function setUp(weightOf?: QueueTaskSourceDeps['weightOf']) {
  const clock = new ManualClock();
  const store = createMemoryStore({ clock });
  const source = createQueueTaskSource(
    { name: 'job', agedAfterMs, holdBackAfterMs },
    {
      queue: store.queue,
      signals: store.signals,
      clock,
      random: () => 0.5,
      ...(weightOf === undefined ? {} : { weightOf }),
    },
  );
  // Who listens makes it look for news.
  const stopListening = source.onWork!(() => undefined);
  const open = (agentId: string) =>
    store.sessions.openSession(
      {
        agentId,
        sessionId: randomUUID(),
        serverId: 's',
        instanceNonce: 'n',
        description: create(AgentDescriptionSchema, { leasesMax: 64 }),
        proven: [],
      },
      context,
    );
  const { epoch } = await open('a');
  const properties = new Map<string, readonly string[]>();
  const running: { readonly name: string; readonly cores: number; readonly exclusive: boolean }[] = [];
  const names = new Map<string, string>();
  return {
    clock,
    running,
    async submit(name: string, more: Partial<LeaseDraft> = {}) {
      const leaseId = randomUUID();
      names.set(leaseId, name);
      const draft: LeaseDraft = {
        leaseId,
        source: 'job',
        name,
        payload: create(AnySchema, { typeUrl: 'x.Work' }),
        requirements: { resources: { cores: 1 } },
        priority: 0,
        runLimitMs: 1_000,
        cancelGraceMs: 0,
        retry: { attemptsMax: 1, after: [], onFailedWork: false, backoffMs: 0 },
        ...more,
      };
      await store.queue.enqueue([{ draft }], context);
      store.signals.announce({ kind: 'work', source: 'job' });
    },
    /** Asks for the agent; the names of what it got, or why it is drained. */
    async ask(coresUsable = 4, agentId = 'a'): Promise<string[] | string> {
      const used = running.reduce((sum, { cores }) => sum + cores, 0);
      const view: AgentView = {
        agentId,
        epoch,
        properties,
        pools: [],
        resourcesTotal: { cores: 4 },
        resourcesFree: { cores: coresUsable - used },
        leasesFree: 60 - running.length,
        idle: running.length === 0,
        payloadTypes: ['x.Work'],
      };
      const answer = (await source.ask([view], { signal: new AbortController().signal })).get(agentId);
      if (answer === undefined) return [];
      if (answer.kind === 'drain') return answer.reason;
      return answer.attempts.map(({ leaseId, requirements }) => {
        const name = names.get(leaseId)!;
        running.push({ name, cores: coresOf(requirements), exclusive: requirements.exclusive === true });
        return name;
      });
    },
    /** The agent is offered what waits first, and refuses it for good. */
    async refuse(name: string) {
      const classes = await store.queue.waitingClasses('job', context);
      const classIds = classes.map(({ classId }) => classId);
      const claimed = await store.queue.claim({ source: 'job', classIds, places: [{ agentId: 'a', epoch }] }, context);
      expect(claimed.map(({ leaseId }) => names.get(leaseId))).toEqual([name]);
      await store.attempts.record(
        claimed.map((attempt) => endOf(attempt, 'refused')),
        context,
      );
    },
    news: () => store.signals.announce({ kind: 'work', source: 'job' }),
    /** Another agent takes whatever waits first. */
    async takenElsewhere() {
      const place = { agentId: 'b', epoch: (await open('b')).epoch };
      const classes = await store.queue.waitingClasses('job', context);
      const classIds = classes.map(({ classId }) => classId);
      await store.queue.claim({ source: 'job', classIds, places: [place] }, context);
      store.signals.announce({ kind: 'work', source: 'job' });
    },
    async [Symbol.asyncDispose]() {
      stopListening();
      await store.close();
    },
  };
}

const coresOf = ({ resources = {} }: LeaseRequirements): number => resources['cores'] ?? 0;

describe('a queue source', () => {
  test('takes turns between submitters of one priority, by their weights', async () => {
    await using fleet = await setUp((_pool, submitter) => (submitter === 'user:ann' ? 2 : 1));
    for (let n = 0; n < 20; n += 1) await fleet.submit('a', { submitter: 'user:ann' });
    for (let n = 0; n < 20; n += 1) await fleet.submit('b', { submitter: 'user:bob' });
    const got: string[] = [];
    for (let n = 0; n < 15; n += 1) {
      got.push(...(await fleet.ask(1)));
      fleet.running.length = 0;
    }
    expect(got.filter((name) => name === 'a')).toHaveLength(10);
    expect(got.slice(0, 3).sort()).toEqual(['a', 'a', 'b']);
  });

  test('takes turns within a priority only', async () => {
    await using fleet = await setUp();
    for (let n = 0; n < 4; n += 1) await fleet.submit('urgent', { submitter: 'user:ann', priority: 1 });
    for (let n = 0; n < 4; n += 1) await fleet.submit('other', { submitter: 'user:bob' });
    expect(await fleet.ask()).toEqual(['urgent', 'urgent', 'urgent', 'urgent']);
  });

  test('starves nobody: what has waited too long goes before everything that came later', async () => {
    await using fleet = await setUp();
    await fleet.submit('patient', { submitter: 'user:bob', priority: -1000 });
    let waitedMs = 0;
    for (let got: string[] = []; !got.includes('patient');) {
      // More urgent work than the agent can do comes all the time.
      for (let n = 0; n < 6; n += 1) await fleet.submit('flood', { submitter: 'user:ann', priority: 1000 });
      got = (await fleet.ask()) as string[];
      expect(got).toHaveLength(4);
      fleet.running.length = 0;
      fleet.clock.advance(1_000);
      waitedMs += 1_000;
      expect(waitedMs).toBeLessThanOrEqual(agedAfterMs + 2_000);
    }
    expect(waitedMs).toBeGreaterThanOrEqual(agedAfterMs);
  });

  test.each([
    ['four cores', { resources: { cores: 4 } }],
    ['the machine for itself', { exclusive: true }],
  ])(
    'holds an agent back for a lease that needs %s, once smaller ones have kept it out for too long',
    async (_, needs) => {
      await using fleet = await setUp();
      for (let n = 0; n < 4; n += 1) await fleet.submit('small');
      expect(await fleet.ask()).toHaveLength(4);
      await fleet.submit('large', { requirements: needs });
      let waitedMs = 0;
      for (; waitedMs < holdBackAfterMs; waitedMs += 1_000) {
        await fleet.submit('small');
        fleet.running.shift();
        expect(await fleet.ask()).toEqual(['small']);
        fleet.clock.advance(1_000);
      }
      for (let left = 3; left > 0; left -= 1) {
        await fleet.submit('small');
        fleet.running.shift();
        expect(await fleet.ask()).toMatch(/^held back for a lease that needs (cores 4|exclusive)$/);
      }
      fleet.running.shift();
      expect(await fleet.ask()).toContain('large');
      fleet.running.length = 0;
      expect(await fleet.ask()).toContain('small');
    },
  );

  test('lets an agent go that was held back for a lease which somebody else has taken', async () => {
    await using fleet = await setUp();
    for (let n = 0; n < 3; n += 1) await fleet.submit('small');
    expect(await fleet.ask()).toHaveLength(3);
    await fleet.submit('large', { requirements: { resources: { cores: 4 } } });
    fleet.clock.advance(holdBackAfterMs);
    fleet.news();
    expect(await fleet.ask()).toMatch(/held back/);
    await fleet.takenElsewhere();
    await fleet.submit('small');
    expect(await fleet.ask()).toEqual(['small']);
  });

  test('chooses another agent when the one that it holds back is away', async () => {
    await using fleet = await setUp();
    for (let n = 0; n < 3; n += 1) await fleet.submit('small');
    expect(await fleet.ask()).toHaveLength(3);
    await fleet.submit('large', { requirements: { resources: { cores: 4 } } });
    fleet.clock.advance(holdBackAfterMs);
    fleet.news();
    expect(await fleet.ask()).toMatch(/held back/);
    fleet.clock.advance(20_000);
    expect(await fleet.ask(4, 'b')).toEqual([]);
    fleet.clock.advance(20_000);
    expect(await fleet.ask(4, 'b')).toMatch(/held back/);
  });

  test('does not hold an agent back again and again for a lease that it has refused', async () => {
    await using fleet = await setUp();
    for (let n = 0; n < 3; n += 1) await fleet.submit('small');
    expect(await fleet.ask()).toHaveLength(3);
    await fleet.submit('large', { requirements: { resources: { cores: 4 } } });
    await fleet.refuse('large');
    fleet.clock.advance(holdBackAfterMs);
    fleet.news();
    expect(await fleet.ask()).toMatch(/held back/);
    fleet.running.length = 0;
    expect(await fleet.ask()).toEqual([]);
    for (let n = 0; n < 3; n += 1) await fleet.submit('small');
    expect(await fleet.ask()).toHaveLength(3);
    fleet.news();
    expect(await fleet.ask()).toEqual([]);
  });
});
