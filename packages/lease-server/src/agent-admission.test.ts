import { create } from '@bufbuild/protobuf';
import { DroverError } from '@drover/lease-kit';
import { OpenSessionRequestSchema } from '@drover/lease-protocol';
import { describe, expect, test } from 'vitest';
import type { AgentAdmission } from './agent-admission.ts';
import { draft, ServerBench, tester } from './testing/index.ts';

const context = { principal: tester };
const revoked = new DroverError({ code: 'AGENT_REVOKED', advice: 'denied', message: 'It is revoked.' });
const open: AgentAdmission = { admit: async () => ({}), confirm: async () => undefined };

describe('admission', () => {
  test('an agent that is thrown out loses its session and its attempts at once, and is told why', async () => {
    await using bench = new ServerBench();
    let isRevoked = false;
    const admission: AgentAdmission = {
      ...open,
      admit: async () => {
        if (isRevoked) throw revoked;
        return {};
      },
    };
    const server = await bench.server({}, { admission });
    const agent = await bench.agent(server);
    const lease = draft({ retry: { attemptsMax: 1, after: [], onFailedWork: false, backoffMs: 0 } });
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1 && server.status().pendingWrites === 0);
    isRevoked = true;
    expect(server.holds('agent-0')).toBe(true);
    expect(server.evict('agent-0', revoked)).toBe(true);
    expect(server.evict('agent-0', revoked)).toBe(false);
    expect(server.holds('agent-0')).toBe(false);
    await bench.until(() => !agent.linked);
    const record = await bench.store.jobs.lease(lease.leaseId, context);
    expect(record).toMatchObject({ state: 'ended', attempts: [{ attempt: 1, end: { outcome: 'lost' } }] });
    const [stored] = await bench.store.sessions.agents({ limit: 1 }, context);
    expect(stored?.session).toBeUndefined();
  });

  test('what is decided while a session is being opened ends it before anybody hears of it', async () => {
    await using bench = new ServerBench();
    const admission: AgentAdmission = { ...open, confirm: () => Promise.reject(revoked) };
    const server = await bench.server({}, { admission });
    const request = create(OpenSessionRequestSchema, { agentId: 'a1', instanceNonce: 'n', agent: { leasesMax: 1 } });
    const call = { principal: { kind: 'agent', id: 'a1' } as const, signal: new AbortController().signal };
    await expect(server.endpoint.openSession(request, call)).rejects.toBe(revoked);
    await bench.until(async () => (await bench.store.sessions.agents({ limit: 1 }, context))[0]?.session === undefined);
    expect(server.status()).toMatchObject({ sessions: 0 });
  });

  test('an agent is in the pools that it is bound to, and in no other that it asks for', async () => {
    await using bench = new ServerBench();
    const admission: AgentAdmission = { ...open, admit: async () => ({ poolsAllowed: ['render'] }) };
    const agent = await bench.agent(await bench.server({}, { admission }), { description: { pools: ['secret'] } });
    await bench.enqueue(draft({ requirements: { pool: 'secret' } }), draft({ requirements: { pool: 'render' } }));
    await bench.until(() => agent.running.length === 1);
    const left = await bench.store.jobs.liveLeases({ limit: 9 }, context);
    expect(left.filter(({ state }) => state === 'waiting').map(({ requirements }) => requirements.pool)).toEqual([
      'secret',
    ]);
  });
});
