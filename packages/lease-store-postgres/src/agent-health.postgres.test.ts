import type { AgentHealth } from '@drover/agent-health';
import { sampleContext as context, sampleSession } from '@drover/lease-store/testing';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { nextMessage, startFixture } from './child-process.test.fixture.ts';
import { freshSchema, type FreshSchema } from './fresh-schema.test.fixture.ts';

let fresh: FreshSchema;
beforeAll(async () => {
  fresh = await freshSchema();
});
afterEach(() => fresh.empty());
afterAll(() => fresh[Symbol.asyncDispose]());

const agentIds = Array.from({ length: 24 }, (_, n) => `agent-${String(n).padStart(2, '0')}`);

test('two processes that withhold the same agents at once keep to the caps, and each agent is changed once', async () => {
  const store = fresh.store();
  for (const agentId of agentIds) await sampleSession(store, agentId);
  const processes = [1, 2].map(() => startFixture('health-changer.test.fixture.ts', [fresh.schema, ...agentIds]));
  await Promise.all(processes.map((child) => nextMessage(child)));
  for (const child of processes) child.send('go');
  const told = await Promise.all(processes.map((child) => nextMessage<string[]>(child)));
  const records = await store.agentHealth.records({ limit: 100 }, context);
  const withheld = records.filter(({ isWithheld }) => isWithheld);
  const even = (agentId: string): boolean => Number(agentId.slice(-2)) % 2 === 0;
  expect(withheld.length).toBe(5);
  expect(withheld.filter(({ agentId }) => even(agentId)).length).toBeLessThanOrEqual(3);
  expect(records.map(({ revision }) => revision)).toEqual(agentIds.map(() => 1));
  expect(told.flat().filter((result) => result === 'changed')).toHaveLength(agentIds.length);
  expect(told.flat().filter((result) => result === 'written')).toHaveLength(5);
});

test('the history of bad ends is read by its index, and nothing is written when a lease ends', async () => {
  const plan = async (table: string, condition: string): Promise<string> => {
    const client = await fresh.pool.connect();
    try {
      await client.query('set enable_seqscan = off');
      const query = `explain select lease_id from ${fresh.schema}.${table} where ended_at > now() - interval '2 hours' and ${condition}`;
      return JSON.stringify((await client.query(query)).rows);
    } finally {
      client.release(true);
    }
  };
  const bad =
    'job_id is not null and agent_id is not null and (outcome in (2, 3, 5) or (outcome = 1 and succeeded is false))';
  expect(await plan('lease_history', bad)).toMatch(/Index.*lease_history_default_ended_at_idx/);
  expect(await plan('attempt_history', 'outcome <> 6')).toMatch(/Index.*attempt_history_default_ended_at_idx/);
});

test('a health is stored with its texts cut and its evidence bounded', async () => {
  const store = fresh.store();
  await sampleSession(store, 'agent-1');
  const evidence = Array.from({ length: 40 }, (_, n) => {
    return { leaseId: `lease-${n}`, attempt: 1, name: 'x', outcome: 'failed' as const, code: '', atMs: n };
  });
  const next: AgentHealth = {
    state: 'suspected',
    isWithheld: false,
    sinceMs: 1,
    reason: 'ä\0'.repeat(4_096),
    evidence,
    rounds: 0,
  };
  await store.agentHealth.change([{ agentId: 'agent-1', revision: 0, next, caps: [] }], context);
  const [record] = await store.agentHealth.recordsOf(['agent-1'], context);
  expect(record!.evidence).toHaveLength(16);
  expect(Buffer.byteLength(record!.reason)).toBeLessThanOrEqual(4_096);
});
