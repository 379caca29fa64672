import { create } from '@bufbuild/protobuf';
import { AgentCondition, AgentDescriptionSchema, LeaseProgressSchema, Outcome } from '@drover/lease-protocol';
import type { AttemptEnd } from '@drover/lease-kit';
import { createQueueTaskSource } from '@drover/task-sources';
import { describe, expect, test } from 'vitest';
import { draft, ServerBench, tester, work } from './testing/index.ts';

const context = { principal: tester };
const completed = { outcome: Outcome.COMPLETED, result: { case: 'output' as const, value: work() } };

describe('a lease', () => {
  test('is claimed, offered, taken, and its end is persisted before it is acknowledged', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const agent = await bench.agent(server);
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1);
    expect(agent.seen.get(`1:${lease.leaseId}`)).toMatchObject({
      work: { case: 'payload', value: { typeUrl: lease.payload.typeUrl } },
      runLimit: { seconds: 60n },
      cancelGrace: { seconds: 1n },
    });
    await bench.until(async () => (await bench.store.jobs.lease(lease.leaseId, context)).state === 'accepted');
    agent.finish(agent.running[0]!, completed);
    await bench.until(() => agent.journal.size === 0);
    const record = await bench.store.jobs.lease(lease.leaseId, context);
    expect(record).toMatchObject({ state: 'ended', succeeded: true, attempts: [{ end: { outcome: 'completed' } }] });
    await bench.until(() => server.status().hungry === 1);
    expect(server.status()).toMatchObject({ attempts: 0, pendingWrites: 0, hungry: 1, ready: true });
  });

  test('whose output the judge does not like has not succeeded', async () => {
    await using bench = new ServerBench();
    const server = await bench.server({}, { judge: () => false });
    const agent = await bench.agent(server);
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1);
    agent.finish(agent.running[0]!, completed);
    await bench.until(async () => (await bench.store.jobs.lease(lease.leaseId, context)).state === 'ended');
    expect((await bench.store.jobs.lease(lease.leaseId, context)).succeeded).toBe(false);
  });

  test('that fails is tried again, and its source is told of both ends', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const agent = await bench.agent(server);
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1);
    agent.finish(agent.running[0]!, { outcome: Outcome.FAILED, reason: { code: 'NO_DISK', message: 'disk gone' } });
    await bench.until(() => agent.running.length === 2);
    expect(agent.running.at(-1)).toEqual({ leaseId: lease.leaseId, attempt: 2 });
    agent.finish(agent.running.at(-1)!, completed);
    await bench.until(async () => (await bench.store.jobs.lease(lease.leaseId, context)).state === 'ended');
    const { attempts } = await bench.store.jobs.lease(lease.leaseId, context);
    expect(attempts.map(({ end }) => [end?.outcome, end?.reason?.code])).toEqual([
      ['failed', 'NO_DISK'],
      ['completed', undefined],
    ]);
  });

  test('that one agent refuses goes to another and never back', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const refusing = await bench.agent(server, {
      refusal: () => ({ code: 'LEASE_TYPE_UNKNOWN', message: 'no handler' }),
    });
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(async () => (await bench.store.jobs.lease(lease.leaseId, context)).excludedAgents.length === 1);
    await bench.quiet();
    expect(refusing.running).toEqual([]);
    const taking = await bench.agent(server);
    await bench.until(() => taking.running.length === 1, 100);
    expect(taking.running[0]).toEqual({ leaseId: lease.leaseId, attempt: 2 });
  });

  test('waits for room: resources are counted and freed', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const agent = await bench.agent(server, {
      description: { leasesMax: 9, payloadTypes: ['x.Work'], resources: { Cores: 4n } },
    });
    await bench.enqueue(...Array.from({ length: 3 }, () => draft({ requirements: { resources: { cores: 2 } } })));
    await bench.until(() => agent.running.length === 2);
    await bench.quiet();
    expect(agent.running).toHaveLength(2);
    agent.finish(agent.running[0]!, completed);
    await bench.until(() => agent.running.length === 3);
  });
});

describe('an agent', () => {
  test('that is not ready gets nothing, and its condition is stored once', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const agent = await bench.agent(server);
    agent.condition = AgentCondition.BUSY;
    agent.report();
    await bench.until(async () => (await bench.store.sessions.agents({ limit: 1 }, context))[0]?.condition === 'busy');
    await bench.enqueue(draft());
    await bench.quiet();
    expect(agent.running).toEqual([]);
    agent.condition = AgentCondition.READY;
    agent.report();
    await bench.until(() => agent.running.length === 1);
  });

  test('that uses resources for something else has so much less', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const agent = await bench.agent(server, {
      description: { leasesMax: 9, payloadTypes: ['x.Work'], resources: { cores: 4n } },
    });
    agent.resourcesUsedElsewhere = { cores: 3n };
    agent.report();
    await bench.quiet();
    await bench.enqueue(draft({ requirements: { resources: { cores: 2 } } }));
    await bench.quiet();
    expect(agent.running).toEqual([]);
    agent.resourcesUsedElsewhere = {};
    agent.report();
    await bench.until(() => agent.running.length === 1);
  });

  test('whose stream breaks goes on in the same session', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const agent = await bench.agent(server);
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1);
    const { sessionId } = agent;
    agent.breakLink();
    await bench.until(() => server.status().linked === 0);
    agent.finish(agent.running[0]!, completed);
    await bench.until(() => agent.journal.size === 0, 10);
    expect(agent.sessionId).toBe(sessionId);
    expect(agent.running).toHaveLength(1);
  });

  test('that stays away loses its session and its attempts, which are tried again', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const agent = await bench.agent(server);
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1);
    agent.kill();
    await bench.until(() => server.status().sessions === 0, 1_000);
    const other = await bench.agent(server);
    await bench.until(() => other.running.length === 1, 10);
    expect(other.running[0]).toEqual({ leaseId: lease.leaseId, attempt: 2 });
  });

  test('that was started again rebinds what its journal proves and loses the rest', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const first = await bench.agent(server, { agentId: 'a' });
    const [kept, gone] = [
      draft({ retry: { attemptsMax: 1, after: [], onFailedWork: false, backoffMs: 0 } }),
      draft({ retry: { attemptsMax: 1, after: [], onFailedWork: false, backoffMs: 0 } }),
    ];
    await bench.enqueue(kept, gone);
    await bench.until(() => first.running.length === 2);
    first.kill();
    const journal = new Map([...first.journal].filter(([, { leaseId }]) => leaseId === kept.leaseId));
    const second = await bench.agent(server, { agentId: 'a', instanceNonce: 'nonce-2', journal });
    expect(second.epoch).toBe(first.epoch + 1);
    await bench.until(async () => (await bench.store.jobs.lease(gone.leaseId, context)).state === 'ended');
    expect((await bench.store.jobs.lease(gone.leaseId, context)).attempts[0]?.end?.outcome).toBe('lost');
    second.finish({ leaseId: kept.leaseId, attempt: 1 }, completed);
    await bench.until(async () => (await bench.store.jobs.lease(kept.leaseId, context)).succeeded === true);
    expect(second.running).toEqual([]);
  });

  test('whose name another process takes is fenced', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const first = await bench.agent(server, { agentId: 'a' });
    await bench.agent(server, { agentId: 'a', instanceNonce: 'nonce-2' });
    await bench.until(() => first.exited === 'fenced');
    expect(first.errors).toMatchObject([{ code: 'SESSION_FENCED' }]);
  });

  test('whose progress changes shows it, at most once a second', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const agent = await bench.agent(server);
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1);
    for (const percent of [10, 20, 30]) {
      agent.report([create(LeaseProgressSchema, { leaseId: lease.leaseId, attempt: 1, percent, message: 'on it' })]);
    }
    await bench.quiet();
    bench.clock.advance(1_000);
    await bench.until(async () => (await bench.store.jobs.lease(lease.leaseId, context)).progress?.percent === 30);
  });

  test('that says why it is unhealthy has the reason stored, and again when only the reason changes', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const agent = await bench.agent(server);
    const stored = async () => (await bench.store.sessions.agents({ limit: 1 }, context))[0]!;
    agent.condition = AgentCondition.UNHEALTHY;
    agent.conditionReason = { code: 'DISK_SPACE_LOW', message: 'the disk of /work is full' };
    agent.report();
    await bench.until(async () => (await stored()).condition === 'unhealthy');
    expect((await stored()).conditionReason).toEqual(agent.conditionReason);
    agent.conditionReason = { code: 'DISK_SPACE_LOW', message: 'the disk of /state is full' };
    agent.report();
    await bench.until(async () => (await stored()).conditionReason?.message === 'the disk of /state is full');
    agent.condition = AgentCondition.READY;
    agent.conditionReason = undefined;
    agent.report();
    await bench.until(async () => (await stored()).condition === 'ready');
    expect((await stored()).conditionReason).toBeUndefined();
  });

  test('whose facts change within its session is matched and stored anew, once', async () => {
    const stored: number[] = [];
    await using bench = new ServerBench((store) => ({
      ...store,
      sessions: {
        ...store.sessions,
        recordDescription: (session, ...rest) => (
          stored.push(session.epoch),
          store.sessions.recordDescription(session, ...rest)
        ),
      },
    }));
    const server = await bench.server();
    const agent = await bench.agent(server);
    const lease = draft({ requirements: { condition: 'disk_free >= 10gb' } });
    await bench.enqueue(lease);
    await bench.quiet();
    expect(agent.running).toEqual([]);
    const { sessionId } = agent;
    agent.describedAs = create(AgentDescriptionSchema, {
      name: 'renamed',
      leasesMax: 16,
      payloadTypes: ['x.Work'],
      properties: [{ key: 'disk_free', value: '20gb' }],
    });
    agent.report();
    await bench.until(() => agent.running.length === 1);
    // A new link says it again, which costs no write.
    agent.breakLink();
    await bench.until(() => agent.linked, 10);
    agent.report();
    await bench.quiet();
    expect(agent.sessionId).toBe(sessionId);
    expect(stored).toEqual([agent.epoch]);
    expect((await bench.store.sessions.agents({ limit: 1 }, context))[0]?.description.name).toBe('renamed');
    agent.describedAs = create(AgentDescriptionSchema, {
      leasesMax: 16,
      properties: [{ key: '', value: 'x' }],
    });
    agent.report();
    await bench.until(() => agent.errors.length > 0);
    expect(agent.errors[0]).toMatchObject({
      code: 'OPEN_SESSION_INVALID',
      message: expect.stringContaining('agent.properties') as string,
    });
  });

  test('that idles costs no write and no list', async () => {
    let writes = 0;
    await using bench = new ServerBench((store) => ({
      ...store,
      attempts: { ...store.attempts, record: (...args) => (writes++, store.attempts.record(...args)) },
      sessions: {
        ...store.sessions,
        recordCondition: (...args) => (writes++, store.sessions.recordCondition(...args)),
        recordDescription: (...args) => (writes++, store.sessions.recordDescription(...args)),
      },
    }));
    const server = await bench.server();
    const agent = await bench.agent(server);
    await bench.quiet();
    const before = agent.copiesReceived;
    for (let second = 0; second < 120; second += 1) {
      bench.clock.advance(1_000);
      await bench.quiet();
    }
    expect(agent.copiesReceived - before).toBeGreaterThan(4);
    expect(agent.copiesReceived - before).toBeLessThan(14);
    expect(writes).toBe(0);
    expect(server.status().sessions).toBe(1);
  });
});

describe('a source', () => {
  test('is told of an end that was persisted, also when the answer came after the end of the session', async () => {
    const answers: (() => void)[] = [];
    let held = false;
    await using bench = new ServerBench((store) => ({
      ...store,
      attempts: {
        ...store.attempts,
        record: async (writes, call) => {
          const results = await store.attempts.record(writes, call);
          if (held) await new Promise<void>((resolve) => answers.push(resolve));
          return results;
        },
      },
    }));
    const ends: AttemptEnd[] = [];
    const { queue, signals } = bench.store;
    const source = createQueueTaskSource(
      { name: 'job' },
      { queue, signals, clock: bench.clock, ended: (end) => ends.push(end) },
    );
    const server = await bench.server({}, { sources: [source] });
    const agent = await bench.agent(server, { agentId: 'a' });
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1 && server.status().pendingWrites === 0);
    held = true;
    agent.finish(agent.running[0]!, { outcome: Outcome.FAILED, reason: { code: 'NO', message: 'no' } });
    await bench.until(() => answers.length === 1);
    await bench.agent(server, { agentId: 'a', instanceNonce: 'next' });
    held = false;
    for (const answer of answers) answer();
    await bench.until(() => ends.length > 0);
    expect(ends).toEqual([{ leaseId: lease.leaseId, attempt: 1, agentId: 'a', outcome: 'failed', final: false }]);
  });
});

describe('a cancel wish', () => {
  test('that another server recorded reaches the agent', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const agent = await bench.agent(server);
    const jobId = crypto.randomUUID();
    const lease = draft();
    const job = { jobId, name: 'j', payload: work(), priority: 0, leases: [{ draft: lease, jobId }] };
    await bench.store.jobs.submit([job], context);
    bench.store.signals.announce({ kind: 'work', source: 'job' });
    await bench.until(() => agent.running.length === 1);
    await bench.until(async () => (await bench.store.jobs.lease(lease.leaseId, context)).state === 'accepted');
    await bench.store.jobs.wishCancel(jobId, 'not needed', context);
    bench.store.signals.announce({ kind: 'cancel', agentId: 'agent-0' });
    await bench.until(() => agent.stops.length === 1);
    expect(agent.stops[0]).toMatchObject({ leaseId: lease.leaseId, cause: 'cancelled' });
    expect(agent.seen.get(`1:${lease.leaseId}`)?.cancelReason?.message).toBe('not needed');
    agent.finish(agent.running[0]!, { outcome: Outcome.CANCELLED, reason: { code: 'CANCELLED', message: 'stopped' } });
    await bench.until(async () => (await bench.store.jobs.lease(lease.leaseId, context)).state === 'ended');
  });

  test('whose signal was lost is found by the audit', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const agent = await bench.agent(server);
    const jobId = crypto.randomUUID();
    const job = { jobId, name: 'j', payload: work(), priority: 0, leases: [{ draft: draft(), jobId }] };
    await bench.store.jobs.submit([job], context);
    bench.store.signals.announce({ kind: 'work', source: 'job' });
    await bench.until(() => agent.running.length === 1);
    await bench.store.jobs.wishCancel(jobId, 'not needed', context);
    await bench.until(() => agent.stops.length === 1, 500);
  });
});

test('a claim that is under way when a server drains reaches its agent', async () => {
  const claiming = Promise.withResolvers<AbortSignal | undefined>();
  const goOn = Promise.withResolvers<void>();
  await using bench = new ServerBench((store) => ({
    ...store,
    queue: {
      ...store.queue,
      async claim(request, call) {
        const claimed = await store.queue.claim(request, call);
        claiming.resolve(call.signal);
        await goOn.promise;
        call.signal?.throwIfAborted();
        return claimed;
      },
    },
  }));
  const server = await bench.server();
  const agent = await bench.agent(server);
  await bench.enqueue(draft());
  const signal = await claiming.promise;
  const drained = server.drain();
  await bench.quiet();
  expect(signal?.aborted).not.toBe(true);
  goOn.resolve();
  await drained;
  await bench.until(() => agent.running.length === 1);
});
