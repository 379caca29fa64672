import { describe, expect, test } from 'vitest';
import { draft, ServerBench, tester } from './testing/index.ts';

const context = { principal: tester };

async function hungryBench() {
  let statements = 0;
  const bench = new ServerBench((store) => ({
    ...store,
    queue: {
      ...store.queue,
      claim: (...args) => (statements++, store.queue.claim(...args)),
      waitingClasses: (...args) => (statements++, store.queue.waitingClasses(...args)),
    },
  }));
  const server = await bench.server();
  const agent = await bench.agent(server, {
    description: { leasesMax: 3, payloadTypes: ['x.Work'], resources: { cores: 4n } },
  });
  await bench.until(() => server.status().hungry === 1);
  return { bench, server, agent, statements: () => statements };
}

describe('immediate placement', () => {
  test('whose commit came through after it was given up, and after the store was asked, is found all the same', async () => {
    const { bench, server, agent } = await hungryBench();
    await using _bench = bench;
    const lease = draft();
    const reservation = server.placement.reserve([lease]);
    const bindTo = reservation.bindings.get(lease.leaseId)!;
    reservation.release();
    await bench.until(() => server.status().hungry === 1);
    await bench.store.queue.enqueue([{ draft: lease, bindTo }], context);
    await bench.until(() => agent.running.length === 1, 500);
  });

  test('binds a lease in the commit that stores it, and the offer leaves without a claim', async () => {
    const { bench, server, agent, statements } = await hungryBench();
    await using _bench = bench;
    const before = statements();
    const lease = draft();
    const reservation = server.placement.reserve([lease]);
    const bindTo = reservation.bindings.get(lease.leaseId)!;
    expect(bindTo).toEqual({ agentId: 'agent-0', epoch: agent.epoch });
    reservation.confirm(await bench.store.queue.enqueue([{ draft: lease, bindTo }], context));
    await bench.until(() => agent.running.length === 1);
    expect(statements()).toBe(before);
    await bench.until(() => server.status().hungry === 1);
  });

  test('foretells the work to an agent that rests, and to no other', async () => {
    const { bench, server, agent } = await hungryBench();
    await using _bench = bench;
    const lease = draft();
    const reservation = server.placement.reserve([lease]);
    await bench.until(() => agent.foretold.length === 1);
    expect(agent.foretold[0]).toMatchObject({ leaseId: lease.leaseId, attempt: 1, work: { case: 'payload' } });
    // Nothing follows from it.
    expect(agent.running).toEqual([]);
    const bindTo = reservation.bindings.get(lease.leaseId)!;
    reservation.confirm(await bench.store.queue.enqueue([{ draft: lease, bindTo }], context));
    await bench.until(() => agent.running.length === 1);
    await bench.until(() => server.status().hungry === 1);
    server.placement.reserve([draft()]).release();
    await bench.quiet();
    expect(agent.foretold).toHaveLength(1);
  });

  test('whose lease the audit finds before the answer comes leaves its agent hungry for what is left', async () => {
    const { bench, server, agent } = await hungryBench();
    await using _bench = bench;
    const drafts = [draft(), draft(), draft()];
    const reservation = server.placement.reserve(drafts);
    const [first] = drafts;
    const bindTo = reservation.bindings.get(first!.leaseId)!;
    const assigned = await bench.store.queue.enqueue([{ draft: first!, bindTo }], context);
    bench.store.signals.announce({ kind: 'cancel', agentId: 'agent-0' });
    await bench.until(() => agent.running.length === 1);
    await bench.quiet();
    reservation.confirm(assigned);
    await bench.until(() => server.status().hungry === 1);
  });

  test('takes no more than fits, and gives back what was not used', async () => {
    const { bench, server } = await hungryBench();
    await using _bench = bench;
    const drafts = Array.from({ length: 3 }, () => draft({ requirements: { resources: { cores: 2 } } }));
    const reservation = server.placement.reserve(drafts);
    expect(reservation.bindings.size).toBe(2);
    expect(server.placement.reserve([draft({ requirements: { resources: { cores: 1 } } })]).bindings.size).toBe(0);
    reservation.release();
    await bench.until(() => server.status().hungry === 1);
    expect(server.placement.reserve(drafts).bindings.size).toBe(2);
  });

  test('does not jump the queue: while something waits that fits, nothing is placed', async () => {
    const { bench, server, agent } = await hungryBench();
    await using _bench = bench;
    await bench.enqueue(...Array.from({ length: 4 }, () => draft()));
    expect(server.placement.reserve([draft()]).bindings.size).toBe(0);
    await bench.until(() => agent.running.length === 3);
    expect(server.placement.reserve([draft()]).bindings.size).toBe(0);
  });

  test('passes by leases that wait and fit nobody', async () => {
    const { bench, server } = await hungryBench();
    await using _bench = bench;
    await bench.enqueue(draft({ requirements: { resources: { cores: 64 } } }));
    await bench.until(() => server.status().hungry === 1);
    expect(server.placement.reserve([draft()]).bindings.size).toBe(1);
  });

  test('respects what the agent has handlers for, exclusivity, and a draining server', async () => {
    const { bench, server } = await hungryBench();
    await using _bench = bench;
    const other = draft({ payload: { ...draft().payload, typeUrl: 'type.googleapis.com/x.Other' } });
    expect(server.placement.reserve([other]).bindings.size).toBe(0);
    const reservation = server.placement.reserve([draft({ requirements: { exclusive: true } }), draft()]);
    expect(reservation.bindings.size).toBe(1);
    reservation.release();
    await server.drain();
    expect(server.placement.reserve([draft()]).bindings.size).toBe(0);
  });

  test('finds what was bound by a commit whose answer was lost', async () => {
    const { bench, server, agent } = await hungryBench();
    await using _bench = bench;
    const lease = draft();
    const reservation = server.placement.reserve([lease]);
    await bench.store.queue.enqueue([{ draft: lease, bindTo: reservation.bindings.get(lease.leaseId)! }], context);
    reservation.release();
    await bench.until(() => agent.running.length === 1);
    expect(agent.running[0]).toEqual({ leaseId: lease.leaseId, attempt: 1 });
  });
});
