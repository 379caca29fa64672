import type { AgentView, TaskAnswer, TaskSource } from '@drover/lease-kit';
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

test('a drain outlives the server that was told of it', async () => {
  await using bench = new ServerBench();
  let answer: TaskAnswer | undefined = { kind: 'drain', reason: 'kernel update' };
  const asked: string[] = [];
  const source = (name: string, ask: (agent: AgentView) => TaskAnswer | undefined): TaskSource => ({
    name,
    ask: async (agents) => {
      asked.push(name);
      return new Map(
        agents.flatMap((agent) => {
          const given = ask(agent);
          return given ? [[agent.agentId, given]] : [];
        }),
      );
    },
  });
  const sources = [source('restart', () => answer), source('job', () => undefined)];
  const first = await bench.server({}, { sources });
  const agent = await bench.agent(first, { agentId: 'agent-0' });
  const drainOf = async () => (await bench.store.sessions.agent('agent-0', context)).drain;
  await bench.until(async () => (await drainOf()) !== undefined);
  expect(await drainOf()).toMatchObject({ source: 'restart', reason: 'kernel update' });
  agent.kill();
  await first.stop();
  asked.length = 0;
  // The source is behind the others now: without the drain they would be asked first.
  const second = await bench.server({}, { sources: sources.toReversed() });
  await bench.agent(second, { agentId: 'agent-0', instanceNonce: 'next' });
  await bench.until(() => asked.length > 0);
  expect(asked).toEqual(['restart']);
  answer = undefined;
  bench.agents.at(-1)!.report();
  bench.clock.advance(700_000);
  await bench.until(async () => (await drainOf()) === undefined, 100);
});
