import { Pool } from 'pg';
import { claimAll, endOf, sampleContext, sampleSession } from '@drover/lease-store/testing';
import { testPostgresUrl } from './fresh-schema.test.fixture.ts';
import { createPostgresStore } from './postgres-store.ts';

/**
 * A process that claims and ends leases until none is left, then sends what it claimed. With `forever` it never stops, and
 * says so after its first claim: it is there to be killed.
 */
const [schema = '', agentId = '', mode = ''] = process.argv.slice(2);
const pool = new Pool({ connectionString: testPostgresUrl(), max: 4 });
const store = createPostgresStore({ pool }, { schema });
const session = await sampleSession(store, agentId);
const claimed: string[] = [];
for (;;) {
  const attempts = await claimAll(
    store,
    Array.from({ length: 7 }, () => session),
  );
  claimed.push(...attempts.map(({ leaseId, attempt }) => `${leaseId} ${attempt}`));
  if (mode === 'forever' && claimed.length > 0) process.send?.(claimed.slice(0, 1));
  if (attempts.length === 0 && mode !== 'forever') break;
  await store.attempts.record(
    attempts.map((attempt) => endOf(attempt)),
    sampleContext,
  );
}
process.send?.(claimed);
await store.close();
await pool.end();
process.disconnect();
