import { create } from '@bufbuild/protobuf';
import { DroverError } from '@drover/lease-kit';
import { OpenSessionRequestSchema, Outcome } from '@drover/lease-protocol';
import type { DroverStore } from '@drover/lease-store';
import { describe, expect, test } from 'vitest';
import { draft, ServerBench, tester, work } from './testing/index.ts';

const context = { principal: tester };
const completed = { outcome: Outcome.COMPLETED, result: { case: 'output' as const, value: work() } };

/** A store that can go away: every call but the signals fails. `after` does the work first and loses the answer. */
class Outage {
  mode: 'none' | 'before' | 'after' = 'none';

  wrap(store: DroverStore): DroverStore {
    const guard = <Port extends object>(port: Port): Port =>
      new Proxy(port, {
        get: (target, name) => {
          const method = Reflect.get(target, name) as (...args: unknown[]) => Promise<unknown>;
          return async (...args: unknown[]) => {
            if (this.mode === 'before') throw this.error();
            const answer = await method.apply(target, args);
            if (this.mode === 'after') throw this.error();
            return answer;
          };
        },
      });
    const { queue, attempts, sessions, jobs, logs } = store;
    return {
      ...store,
      queue: guard(queue),
      attempts: guard(attempts),
      sessions: guard(sessions),
      jobs: guard(jobs),
      logs: guard(logs),
    };
  }

  error(): DroverError {
    return new DroverError({ code: 'STORE_UNAVAILABLE', advice: 'unavailable', message: 'the store is away' });
  }
}

describe('while the store is away', () => {
  test('for ten seconds, sessions stay, the server is not ready, and an end that is reported is not lost', async () => {
    const outage = new Outage();
    await using bench = new ServerBench((store) => outage.wrap(store));
    const server = await bench.server();
    const agent = await bench.agent(server);
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1 && server.status().pendingWrites === 0);
    outage.mode = 'before';
    agent.finish(agent.running[0]!, completed);
    for (let second = 0; second < 10; second += 1) {
      bench.clock.advance(1_000);
      await bench.quiet();
    }
    expect(server.status()).toMatchObject({ ready: false, sessions: 1, attempts: 1, pendingWrites: 1 });
    expect(agent.journal.size).toBe(1);
    outage.mode = 'none';
    await bench.until(() => agent.journal.size === 0, 100);
    expect(await bench.store.jobs.lease(lease.leaseId, context)).toMatchObject({ state: 'ended', succeeded: true });
    await bench.until(() => server.status().ready, 100);
    expect([agent.running.length, agent.errors]).toEqual([1, []]);
  });

  test('a claim whose answer was lost is found, and the agent gets each attempt once', async () => {
    const outage = new Outage();
    await using bench = new ServerBench((store) => outage.wrap(store));
    const server = await bench.server();
    const agent = await bench.agent(server);
    await bench.quiet();
    const leases = [draft(), draft()];
    await bench.enqueue(...leases);
    outage.mode = 'after';
    await bench.quiet();
    expect(agent.running).toEqual([]);
    outage.mode = 'none';
    await bench.until(() => agent.running.length === 2, 100);
    expect(agent.running.map(({ leaseId }) => leaseId).sort()).toEqual(leases.map(({ leaseId }) => leaseId).sort());
    expect(agent.running.every(({ attempt }) => attempt === 1)).toBe(true);
  });

  test('a write that was persisted without an answer is repeated without harm', async () => {
    const outage = new Outage();
    await using bench = new ServerBench((store) => outage.wrap(store));
    const server = await bench.server();
    const agent = await bench.agent(server);
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1 && server.status().pendingWrites === 0);
    outage.mode = 'after';
    agent.finish(agent.running[0]!, completed);
    await bench.quiet();
    outage.mode = 'none';
    await bench.until(() => agent.journal.size === 0, 100);
    const { attempts } = await bench.store.jobs.lease(lease.leaseId, context);
    expect(attempts).toMatchObject([{ end: { outcome: 'completed' } }]);
  });

  test('for longer than agents may wait, what an agent had that died meanwhile goes to another', async () => {
    const outage = new Outage();
    await using bench = new ServerBench((store) => outage.wrap(store));
    const server = await bench.server();
    const agent = await bench.agent(server);
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1 && server.status().pendingWrites === 0);
    outage.mode = 'before';
    for (let second = 0; second < 100; second += 1) {
      if (second === 60) agent.kill();
      bench.clock.advance(1_000);
      await bench.quiet();
    }
    outage.mode = 'none';
    const other = await bench.agent(server);
    await bench.until(() => other.running.length === 1, 500);
    expect(other.running).toEqual([{ leaseId: lease.leaseId, attempt: 2 }]);
  });

  test('a session whose answer was lost ends when its agent does not come back', async () => {
    const outage = new Outage();
    await using bench = new ServerBench((store) => outage.wrap(store));
    const server = await bench.server();
    const agent = await bench.agent(server);
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1 && server.status().pendingWrites === 0);
    agent.kill();
    outage.mode = 'after';
    const { agentId, context: call } = { agentId: 'agent-0', context: agent.context };
    const request = create(OpenSessionRequestSchema, {
      agentId,
      instanceNonce: 'restarted',
      agent: { leasesMax: 1, payloadTypes: ['x.Work'] },
      proven: [{ leaseId: lease.leaseId, attempt: 1 }],
    });
    const signal = new AbortController().signal;
    await expect(server.endpoint.openSession(request, { ...call, signal })).rejects.toThrow('away');
    outage.mode = 'none';
    const other = await bench.agent(server);
    await bench.until(() => other.running.length === 1, 500);
    expect(other.running).toEqual([{ leaseId: lease.leaseId, attempt: 2 }]);
  });

  test('for longer than agents may wait, sessions are opened anew and nothing starts twice', async () => {
    const outage = new Outage();
    await using bench = new ServerBench((store) => outage.wrap(store));
    const server = await bench.server();
    const agent = await bench.agent(server);
    await bench.enqueue(draft());
    await bench.until(() => agent.running.length === 1 && server.status().pendingWrites === 0);
    const { epoch } = agent;
    outage.mode = 'before';
    for (let second = 0; second < 100; second += 1) {
      bench.clock.advance(1_000);
      await bench.quiet();
    }
    outage.mode = 'none';
    await bench.until(() => agent.linked && agent.epoch > epoch, 100);
    agent.finish(agent.running[0]!, completed);
    await bench.until(() => agent.journal.size === 0, 100);
    expect([agent.running.length, agent.exited]).toEqual([1, undefined]);
  });
});
