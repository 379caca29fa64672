import { once } from 'node:events';
import type { AgentHealth } from '@drover/agent-health';
import { sampleContext as context } from '@drover/lease-store/testing';
import { Pool } from 'pg';
import { testPostgresUrl } from './fresh-schema.test.fixture.ts';
import { createPostgresStore } from './postgres-store.ts';

/** A process that withholds agents one by one when it is told to, and sends what became of each: 3 of a pool, 5 in all. */
const [schema = '', ...agentIds] = process.argv.slice(2);
const pool = new Pool({ connectionString: testPostgresUrl(), max: 4 });
const store = createPostgresStore({ pool }, { schema });
const next: AgentHealth = { state: 'suspected', isWithheld: true, sinceMs: 1, reason: '', evidence: [], rounds: 0 };
await store.check();
process.send?.('ready');
await once(process, 'message');
const results = await Promise.all(
  agentIds.map(async (agentId, index) => {
    const caps = [...(index % 2 === 0 ? [{ pool: 'even', max: 3 }] : []), { pool: '*', max: 5 }];
    const [result] = await store.agentHealth.change([{ agentId, revision: 0, next, caps }], context);
    return result?.result;
  }),
);
process.send?.(results);
await store.close();
await pool.end();
process.disconnect();
