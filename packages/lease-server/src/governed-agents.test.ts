import { AgentCondition, Outcome } from '@drover/lease-protocol';
import { createFleetPolicy, type LiveFleetPolicy } from '@drover/fleet-policy';
import { createQueueTaskSource } from '@drover/task-sources';
import { describe, expect, test } from 'vitest';
import { draft, ServerBench, tester } from './testing/index.ts';

const context = { principal: tester };

/** A bench whose servers each have a policy of their own, as processes have. */
async function governedBench() {
  const bench = new ServerBench();
  const policies: LiveFleetPolicy[] = [];
  const server = async (flags: { assignsWhenDisabled?: boolean } = {}) => {
    const { store, clock } = bench;
    const policy = createFleetPolicy({ store, principal: tester, clock, random: () => 0.5 });
    policies.push(policy);
    await policy.start();
    const source = createQueueTaskSource(
      { name: 'job', ...flags },
      {
        queue: store.queue,
        signals: store.signals,
        weightOf: (pool, submitter) => policy.weightOf(pool, submitter),
        clock,
        random: () => 0.5,
      },
    );
    return bench.server({}, { policy, sources: [Object.assign(source, flags)] });
  };
  return {
    bench,
    server,
    settings: bench.store.agentSettings,
    pools: bench.store.pools,
    announce: () => bench.store.signals.announce({ kind: 'settings' }),
    async [Symbol.asyncDispose]() {
      for (const policy of policies) await policy[Symbol.asyncDispose]();
      await bench[Symbol.asyncDispose]();
    },
  };
}

describe('what operators say', () => {
  test('the weights of a pool share it: of two submitters with 3 and 1, the first starts three of four', async () => {
    await using governed = await governedBench();
    const { bench, pools } = governed;
    await pools.createPool({ name: 'shared', agents: ['agent-0'], weights: { 'user:ann': 3 } }, context);
    const submitters = new Map<string, string>();
    const drafts = Array.from({ length: 48 }, (_, index) => {
      const submitter = index < 24 ? 'user:bob' : 'user:ann';
      const lease = draft({ requirements: { pool: 'Shared' }, submitter });
      submitters.set(lease.leaseId, submitter);
      return lease;
    });
    await bench.enqueue(...drafts);
    const agent = await bench.agent(await governed.server(), { description: { leasesMax: 1 } });
    const annsOf = (): number => agent.running.filter(({ leaseId }) => submitters.get(leaseId) === 'user:ann').length;
    const runOn = async (starts: number): Promise<void> => {
      while (agent.running.length < starts) {
        const last = agent.running.at(-1);
        if (last !== undefined) agent.finish(last, { outcome: Outcome.COMPLETED });
        const next = agent.running.length + 1;
        await bench.until(() => agent.running.length === next, 10);
      }
    };
    await runOn(16);
    expect(annsOf()).toBe(12);
    // Operators change it while both wait.
    await pools.replacePool({ name: 'shared', agents: ['agent-0'], weights: {} }, context);
    governed.announce();
    await bench.quiet();
    await runOn(32);
    expect(annsOf()).toBe(12 + 8);
  });

  test('a disabled agent gets nothing, from any server and by any way, until it is enabled', async () => {
    await using governed = await governedBench();
    const { bench, settings, announce } = governed;
    const server = await governed.server();
    const agent = await bench.agent(server);
    await bench.until(() => server.status().hungry === 1);
    await settings.setEnabled(['agent-0'], { enabled: false, comment: 'smoke' }, context);
    announce();
    await bench.until(() => server.status().hungry === 0);
    const lease = draft();
    expect(server.placement.reserve([lease]).bindings.size).toBe(0);
    await bench.enqueue(lease);
    await bench.quiet();
    // Another server reads it at its start.
    const other = await governed.server();
    await bench.agent(other, { agentId: 'agent-0', instanceNonce: 'nonce-2' });
    await bench.quiet();
    expect(agent.running.length + bench.agents[1]!.running.length).toBe(0);
    await settings.setEnabled(['agent-0'], { enabled: true, comment: '' }, context);
    announce();
    await bench.until(() => bench.agents[1]!.running.length === 1);
  });

  test('an agent that is withheld for failing what succeeds elsewhere gets nothing by any way, until it is cleared', async () => {
    await using governed = await governedBench();
    const { bench, announce } = governed;
    const { agentHealth } = bench.store;
    const server = await governed.server();
    const agent = await bench.agent(server);
    await bench.until(() => server.status().hungry === 1);
    const caps = [{ pool: '*', max: 1 }];
    const base = { sinceMs: 1, reason: 'failed 3 leases', evidence: [], rounds: 0 };
    const next = { ...base, state: 'suspected' as const, isWithheld: true };
    await agentHealth.change([{ agentId: 'agent-0', revision: 0, next, caps }], context);
    announce();
    await bench.until(() => server.status().hungry === 0);
    const lease = draft();
    expect(server.placement.reserve([lease]).bindings.size).toBe(0);
    await bench.enqueue(lease);
    await bench.quiet();
    expect(agent.running).toEqual([]);
    await agentHealth.clear(['agent-0'], '', context);
    announce();
    await bench.until(() => agent.running.length === 1);
  });

  test('a source that says so has its leases go to a disabled agent all the same', async () => {
    await using governed = await governedBench();
    const { bench, settings } = governed;
    const server = await governed.server({ assignsWhenDisabled: true });
    const agent = await bench.agent(server);
    await settings.setEnabled(['agent-0'], { enabled: false, comment: '' }, context);
    governed.announce();
    await bench.quiet();
    await bench.enqueue(draft());
    await bench.until(() => agent.running.length === 1);
  });

  test('a downtime begins and ends by the clock and lets what runs go on', async () => {
    await using governed = await governedBench();
    const { bench } = governed;
    const server = await governed.server();
    const agent = await bench.agent(server, { description: { pools: ['Night'] } });
    await bench.enqueue(draft());
    await bench.until(() => agent.running.length === 1);
    const startMs = bench.clock.wallMs() + 2_000;
    await governed.settings.addDowntime(
      {
        downtimeId: '0197a000-0000-7000-8000-000000000000',
        schedule: { kind: 'once', startMs },
        durationMs: 60_000,
        agents: [],
        pools: ['night'],
        comment: '',
      },
      context,
    );
    governed.announce();
    await bench.until(() => bench.clock.wallMs() > startMs, 100);
    await bench.enqueue(draft());
    await bench.quiet();
    expect([agent.running.length, agent.stops.length]).toEqual([1, 0]);
    await bench.until(() => agent.running.length === 2, 500);
    expect(bench.clock.wallMs()).toBeGreaterThanOrEqual(startMs + 60_000);
  });

  test('an agent that is needed is told so on every link, and gets nothing meanwhile', async () => {
    await using governed = await governedBench();
    const { bench } = governed;
    const server = await governed.server();
    const agent = await bench.agent(server);
    const wished = (): AgentCondition => agent.wished;
    expect(wished()).toBe(AgentCondition.READY);
    await governed.settings.setBusy(['agent-0'], { busyForMs: 60_000, comment: 'demo' }, context);
    governed.announce();
    await bench.until(() => wished() === AgentCondition.BUSY);
    await bench.enqueue(draft());
    await bench.quiet();
    expect(agent.running).toEqual([]);
    agent.breakLink();
    agent.wished = AgentCondition.UNSPECIFIED;
    await bench.until(() => wished() === AgentCondition.BUSY, 10);
    await bench.until(() => agent.running.length === 1, 500);
    expect(wished()).toBe(AgentCondition.READY);
  });

  test('a pool that is defined, changed or deleted moves the agents that are connected', async () => {
    await using governed = await governedBench();
    const { bench, pools } = governed;
    const server = await governed.server();
    const agent = await bench.agent(server, { description: { properties: [{ key: 'os', value: 'linux' }] } });
    await bench.enqueue(draft({ requirements: { pool: 'Builders' } }));
    await bench.quiet();
    expect(agent.running).toEqual([]);
    await pools.createPool({ name: 'builders', condition: 'os == windows' }, context);
    governed.announce();
    await bench.quiet();
    expect(agent.running).toEqual([]);
    await pools.replacePool({ name: 'builders', condition: 'os == linux' }, context);
    governed.announce();
    await bench.until(() => agent.running.length === 1);
    await pools.deletePool('builders', context);
    governed.announce();
    await bench.quiet();
    await bench.enqueue(draft({ requirements: { pool: 'builders' } }));
    await bench.quiet();
    expect(agent.running).toHaveLength(1);
  });
});

test('an ephemeral agent is given one lease, though it has room, and is forgotten when it has left', async () => {
  await using bench = new ServerBench();
  const server = await bench.server();
  const agent = await bench.agent(server, {
    description: { ephemeral: true },
    refusal: ({ leaseId }) => (leaseId === refused.leaseId ? { code: 'NO', message: 'not this one' } : undefined),
  });
  const refused = draft({ priority: 9 });
  await bench.enqueue(refused, draft(), draft());
  await bench.until(() => agent.running.length === 1, 100);
  agent.finish(agent.running[0]!, { outcome: Outcome.COMPLETED });
  await bench.until(() => server.status().attempts === 0);
  await bench.quiet();
  expect([agent.running.length, server.status().hungry]).toEqual([1, 0]);
  agent.kill();
  const known = async () => (await bench.store.sessions.agents({ limit: 1 }, context)).length;
  await bench.until(async () => (await known()) === 0, 1_000);
});
