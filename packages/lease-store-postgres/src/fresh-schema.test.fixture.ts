import { randomBytes } from 'node:crypto';
import { Pool } from 'pg';
import type { StoreSubject } from '@drover/lease-store/testing';
import { createPostgresStore, type PostgresStoreDeps, type PostgresStoreOptions } from './postgres-store.ts';
import { migrate } from './migrate.ts';

/** Where the Postgres of the test run is. */
export function testPostgresUrl(): string {
  const url = process.env['DROVER_TEST_POSTGRES_URL'];
  if (!url) throw new Error('This test run has no Postgres: DROVER_TEST_POSTGRES_URL is not set.');
  return url;
}

/** A schema of its own in the Postgres of the test run, with a pool; both go with it. */
export interface FreshSchema extends AsyncDisposable {
  readonly schema: string;
  readonly pool: Pool;
  /** Makes a store on it, closed with it. */
  store(options?: PostgresStoreOptions, deps?: Partial<PostgresStoreDeps>): StoreSubject['store'];
  /** Closes the stores and empties the tables. */
  empty(): Promise<void>;
  /** Lets time pass: everything that is stored moves into the past. */
  elapse(ms: number): Promise<void>;
}

/** Columns whose age a store looks at. */
const timeColumns = [
  ['leases', 'created_at'],
  ['leases', 'assigned_at'],
  ['leases', 'due_at'],
  ['leases', 'going_down_at'],
  ['leases', 'expires_at'],
  ['agents', 'opened_at'],
  ['agents', 'quarantined_until'],
  ['agents', 'away_since'],
  ['agents', 'drained_until'],
  ['servers', 'beat_at'],
  ['servers', 'left_at'],
  ['jobs', 'created_at'],
  ['agent_tasks', 'not_before'],
  ['agent_tasks', 'expires_at'],
  ['agent_tasks', 'draining_until'],
  ['tokens', 'created_at'],
  ['tokens', 'expires_at'],
  ['tokens', 'used_at'],
  ['agent_settings', 'busy_until'],
  ['enrolment_tokens', 'expires_at'],
  ['enrolment_requests', 'asked_at'],
  ['rollouts', 'ring_done_at'],
  ['agent_health_pass', 'next_at'],
  ['lease_history', 'ended_at'],
  ['attempt_history', 'ended_at'],
  ['compile_workers', 'heard_at'],
  ['compile_keys', 'created_at'],
  ['compile_keys', 'signs_at'],
  ['compile_keys', 'expires_at'],
  ['compile_places', 'issued_at'],
  ['compile_places', 'expires_at'],
  ['credential_keys', 'created_at'],
  ['credential_keys', 'expires_at'],
] as const;

const emptied = [
  'rollouts',
  ...['compile_tenants', 'compile_workers', 'compile_keys', 'compile_places', 'compile_records'],
  'agent_health',
  'workspaces',
  ...['leases', 'lease_classes', 'lease_history', 'attempt_history', 'agents', 'servers'],
  ...['jobs', 'logs', 'log_chunks', 'progress', 'agent_tasks', 'tokens', 'audit'],
  ...['jobs', 'logs', 'log_chunks', 'progress', 'pools', 'agent_settings', 'downtimes'],
  ...['enrolment_tokens', 'enrolments', 'enrolment_requests', 'credential_keys'],
];

/** Makes a migrated schema. */
export async function freshSchema(): Promise<FreshSchema> {
  const schema = `test_${randomBytes(8).toString('hex')}`;
  const pool = new Pool({ connectionString: testPostgresUrl(), max: 10 });
  await migrate(pool, { schema });
  const stores: StoreSubject['store'][] = [];
  return {
    schema,
    pool,
    store: (options, deps) => {
      const store = createPostgresStore({ pool, ...deps }, { schema, ...options });
      stores.push(store);
      return store;
    },
    empty: async () => {
      await Promise.all(stores.splice(0).map((store) => store.close()));
      // Truncating makes a file of every table and index anew: 200 ms. As a replica, for the audit refuses to be emptied.
      const deletions = emptied.map((table) => `delete from ${schema}.${table};`).join('');
      await pool.query(`begin; set local session_replication_role = replica; ${deletions} commit`);
    },
    elapse: async (ms) => {
      const by = `interval '${ms} milliseconds'`;
      for (const [table, column] of timeColumns) {
        await pool.query(`update ${schema}.${table} set ${column} = ${column} - ${by} where ${column} is not null`);
      }
      await pool.query(`update ${schema}.agents set takeovers = array(select t - ${by} from unnest(takeovers) t)`);
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(stores.map((store) => store.close()));
      await pool.query(`drop schema ${schema} cascade`);
      await pool.end();
    },
  };
}
