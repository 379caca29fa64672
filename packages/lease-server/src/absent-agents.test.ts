import type { TaskAnswer, TaskSource } from '@drover/lease-kit';
import { describe, expect, test } from 'vitest';
import { draft, ServerBench, tester } from './testing/index.ts';

const context = { principal: tester };
const restart = { msMax: 300_000, then: 'failed' } as const;
const shutdown = { msMax: 300_000, then: 'completed' } as const;

async function endOf(bench: ServerBench, leaseId: string) {
  const { attempts } = await bench.store.jobs.lease(leaseId, context);
  const end = attempts.at(-1)?.end;
  return end && [end.outcome, end.reason?.code];
}

/** An agent that has taken an attempt of `lease`, which its server has persisted. */
async function holding(bench: ServerBench, lease: ReturnType<typeof draft>, agentId = 'agent-0') {
  const server = await bench.server();
  const agent = await bench.agent(server, { agentId });
  await bench.enqueue(lease);
  const isAccepted = async () => (await bench.store.jobs.lease(lease.leaseId, context)).state === 'accepted';
  await bench.until(isAccepted, 1);
  return { server, agent, key: agent.running[0]! };
}

describe('an agent that ends its own process', () => {
  test('comes back to another server with its attempt, long after its session expired', async () => {
    await using bench = new ServerBench();
    const lease = draft({ absence: restart });
    const { server, agent, key } = await holding(bench, lease);
    agent.dispatch({ type: 'going-down', key });
    agent.kill();
    await bench.until(() => server.status().sessions === 0, 1_000);
    expect(await endOf(bench, lease.leaseId)).toBeUndefined();
    await server.stop();
    const next = await bench.server();
    await bench.agent(next, { agentId: 'agent-0', instanceNonce: 'next', journal: agent.journal });
    await bench.until(() => next.status().attempts === 1, 1);
    expect((await bench.store.jobs.lease(lease.leaseId, context)).state).toBe('accepted');
  });

  test('ends its attempt by never coming back: failed, completed when it had said so, else lost', async () => {
    await using bench = new ServerBench();
    const cases = [
      { lease: draft({ absence: restart }), says: true },
      { lease: draft({ absence: shutdown }), says: true },
      { lease: draft({ absence: shutdown }), says: false },
    ];
    for (const [index, { lease, says }] of cases.entries()) {
      const { server, agent, key } = await holding(bench, lease, `agent-${index}`);
      if (says) {
        const before = agent.copiesReceived;
        agent.dispatch({ type: 'going-down', key });
        // The server answers as soon as it is persisted, without waiting for a heartbeat.
        await bench.until(() => agent.copiesReceived > before);
      }
      agent.kill();
      await server.stop();
    }
    // Whichever server is there then judges it.
    await bench.server();
    const ends = () => Promise.all(cases.map(({ lease }) => endOf(bench, lease.leaseId)));
    bench.clock.advance(250_000);
    await bench.quiet();
    expect(await ends()).toEqual([undefined, undefined, undefined]);
    await bench.until(async () => (await ends()).every((end) => end !== undefined), 5_000);
    expect(await ends()).toEqual([
      ['failed', 'AGENT_NEVER_RETURNED'],
      ['completed', undefined],
      ['lost', 'SESSION_EXPIRED'],
    ]);
  });
});

describe('limits of time', () => {
  test('an offer that its agent does not take is tried elsewhere', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const slow = await bench.agent(server, { agentId: 'slow', holdsOffers: true });
    const lease = draft({ timeouts: { startMsMax: 2_000 } });
    await bench.enqueue(lease);
    await bench.until(() => slow.seen.size === 1);
    const first = async () => (await bench.store.jobs.lease(lease.leaseId, context)).attempts[0]?.end;
    await bench.until(async () => (await first()) !== undefined, 200);
    expect(await first()).toMatchObject({ outcome: 'lost', reason: { code: 'START_TIMED_OUT' } });
  });

  test('a lease whose whole time is over is stopped by its agent and never tried again', async () => {
    await using bench = new ServerBench();
    const lease = draft({ timeouts: { leaseMsMax: 30_000 } });
    const waiting = draft({ timeouts: { leaseMsMax: 30_000 }, requirements: { pool: 'nowhere' } });
    const { agent } = await holding(bench, lease);
    await bench.enqueue(waiting);
    await bench.until(() => agent.stops.length === 1, 1_000);
    expect(agent.seen.get(`1:${lease.leaseId}`)?.cancelReason?.code).toBe('LEASE_TIMED_OUT');
    const { state, endedWaiting } = await bench.store.jobs.lease(waiting.leaseId, context);
    expect([state, endedWaiting?.code]).toEqual(['ended', 'LEASE_TIMED_OUT']);
  });
});

/** A source that answers every agent alike, and notes that it was asked. */
function answering(name: string, asked: string[], answer: () => TaskAnswer | undefined): TaskSource {
  return {
    name,
    ask: async (agents) => {
      asked.push(name);
      return new Map(
        agents.flatMap(({ agentId }) => {
          const given = answer();
          return given ? [[agentId, given]] : [];
        }),
      );
    },
  };
}

test('a drain outlives the server that was told of it', async () => {
  await using bench = new ServerBench();
  let answer: TaskAnswer | undefined = { kind: 'drain', reason: 'kernel update' };
  const asked: string[] = [];
  const sources = [answering('restart', asked, () => answer), answering('job', asked, () => undefined)];
  const first = await bench.server({}, { sources });
  const agent = await bench.agent(first, { agentId: 'agent-0' });
  const drainOf = async () => (await bench.store.sessions.agent('agent-0', context)).drain;
  await bench.until(async () => (await drainOf()) !== undefined);
  expect(await drainOf()).toMatchObject({ source: 'restart', reason: 'kernel update' });
  agent.kill();
  await first.stop();
  asked.length = 0;
  // It drains the agent no more. Without the drain, the others would be asked in the same round.
  answer = undefined;
  await bench.server({}, { sources });
  await bench.agent(bench.servers.at(-1)!, { agentId: 'agent-0', instanceNonce: 'next' });
  await bench.until(() => asked.includes('job'));
  expect(asked.slice(0, 3)).toEqual(['restart', 'restart', 'job']);
  await bench.until(async () => (await drainOf()) === undefined, 100);
});

test('a restart takes the place of a drain by jobs, and nothing of either is left when both are over', async () => {
  await using bench = new ServerBench();
  const drain = (reason: string): TaskAnswer => ({ kind: 'drain', reason });
  let [restart, job]: (TaskAnswer | undefined)[] = [undefined, drain('held back')];
  const asked: string[] = [];
  const sources = [answering('restart', asked, () => restart), answering('job', asked, () => job)];
  const agent = await bench.agent(await bench.server({}, { sources }), { agentId: 'agent-0' });
  const drainOf = async () => (await bench.store.sessions.agent('agent-0', context)).drain?.source;
  const changeOf = (cores: bigint): void => {
    agent.resourcesUsedElsewhere = { cores };
    agent.report();
  };
  await bench.until(async () => (await drainOf()) === 'job');
  restart = drain('kernel update');
  changeOf(1n);
  await bench.until(async () => (await drainOf()) === 'restart');
  restart = job = undefined;
  changeOf(2n);
  await bench.until(async () => (await drainOf()) === undefined);
});
