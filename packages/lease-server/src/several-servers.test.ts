import { Outcome } from '@drover/lease-protocol';
import { describe, expect, test } from 'vitest';
import type { LeaseServer } from './lease-server.ts';
import { draft, ServerBench, tester, work } from './testing/index.ts';

const context = { principal: tester };
const completed = { outcome: Outcome.COMPLETED, result: { case: 'output' as const, value: work() } };

describe('two servers on one store', () => {
  test('work that one learns of wakes the agent of the other', async () => {
    await using bench = new ServerBench();
    await bench.server();
    const agent = await bench.agent(await bench.server());
    await bench.enqueue(draft());
    await bench.until(() => agent.running.length === 1);
  });

  test('an agent whose server stops goes on at the other one, with what it was doing', async () => {
    await using bench = new ServerBench();
    const servers = [await bench.server(), await bench.server()];
    let at = 0;
    const agent = await bench.agent((): LeaseServer => servers[at]!);
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1 && servers[0]!.status().pendingWrites === 0);
    at = 1;
    await servers[0]!.stop();
    await bench.until(() => agent.linked && servers[1]!.status().linked === 1, 10);
    agent.finish(agent.running[0]!, completed);
    await bench.until(() => agent.journal.size === 0, 10);
    const record = await bench.store.jobs.lease(lease.leaseId, context);
    expect(record.attempts).toMatchObject([{ attempt: 1, end: { outcome: 'completed' } }]);
  });

  test('a refusal that the first server did not acknowledge is taken by the second, and what runs goes on', async () => {
    const records: (() => void)[] = [];
    let held = false;
    await using bench = new ServerBench((store) => ({
      ...store,
      attempts: {
        ...store.attempts,
        record: async (writes, context) => {
          if (held) await new Promise<void>((resolve) => records.push(resolve));
          return store.attempts.record(writes, context);
        },
      },
    }));
    const servers = [await bench.server(), await bench.server()];
    let at = 0;
    const unwanted = draft({ name: 'unwanted' });
    const agent = await bench.agent((): LeaseServer => servers[at]!, {
      refusal: ({ leaseId }) => (leaseId === unwanted.leaseId ? { code: 'NOT_HERE', message: 'no' } : undefined),
    });
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1 && servers[0]!.status().pendingWrites === 0);
    held = true;
    await bench.enqueue(unwanted);
    await bench.until(() => records.length > 0);
    at = 1;
    const stopped = servers[0]!.stop({ graceMs: 1 });
    await bench.until(() => agent.linked && servers[1]!.status().linked === 1, 10);
    held = false;
    for (const resume of records) resume();
    await stopped;
    const refused = async () => (await bench.store.jobs.lease(unwanted.leaseId, context)).excludedAgents.length > 0;
    await bench.until(refused, 10);
    agent.finish(agent.running[0]!, completed);
    await bench.until(() => agent.journal.size === 0, 10);
    expect((await bench.store.jobs.lease(lease.leaseId, context)).attempts).toMatchObject([
      { attempt: 1, end: { outcome: 'completed' } },
    ]);
    expect(agent.errors.filter((error) => (error as { code?: string }).code === 'SESSION_PROTOCOL_VIOLATION')).toEqual(
      [],
    );
  });

  test('the attempts of a server that died go back after the grace period, when their agent does not come', async () => {
    await using bench = new ServerBench();
    const dead = await bench.server({}, { store: withoutBeat(bench) });
    const agent = await bench.agent(dead);
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1 && dead.status().pendingWrites === 0);
    agent.kill();
    const alive = await bench.server();
    const other = await bench.agent(alive);
    bench.clock.advance(30_000);
    await bench.quiet();
    expect(other.running).toEqual([]);
    await bench.until(() => other.running.length === 1, 1_000);
    expect(other.running[0]).toEqual({ leaseId: lease.leaseId, attempt: 2 });
  });

  test('an agent that another server took over is fenced at the first one', async () => {
    await using bench = new ServerBench();
    const [one, two] = [await bench.server(), await bench.server()];
    const first = await bench.agent(one, { agentId: 'a' });
    await bench.agent(two, { agentId: 'a', instanceNonce: 'other' });
    await bench.until(() => first.exited === 'fenced');
    expect(one.status().sessions).toBe(0);
  });

  test('two machines with one identity end up quarantined, and are told why', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    for (let round = 0; round < 4; round += 1) {
      await bench.agent(server, { agentId: 'a', instanceNonce: `nonce-${round}` });
    }
    const last = await bench
      .agent(server, { agentId: 'a', instanceNonce: 'nonce-5' })
      .catch(() => bench.agents.at(-1)!);
    await bench.until(() => last.exited === 'quarantined');
    expect(last.errors).toMatchObject([{ code: 'AGENT_QUARANTINED' }]);
  });
});

/** A server process that was killed says nothing any more. */
function withoutBeat(bench: ServerBench) {
  const { sessions } = bench.store;
  return {
    ...bench.store,
    sessions: { ...sessions, beat: () => Promise.resolve(), sweep: () => Promise.resolve([]) },
  };
}
