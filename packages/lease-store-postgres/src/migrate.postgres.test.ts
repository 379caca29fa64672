import { randomBytes } from 'node:crypto';
import { Pool } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLogger } from '@drover/lease-kit';
import { claimAll, endOf, sampleContext as context, sampleEntry, sampleSession } from '@drover/lease-store/testing';
import { freshSchema, testPostgresUrl } from './fresh-schema.test.fixture.ts';
import { keepPartitions } from './history-partitions.ts';
import { Database } from './internal/database.ts';
import { migrate } from './migrate.ts';
import { migrations, newestMigration } from './migrations/index.ts';
import { createPostgresStore } from './postgres-store.ts';
import { removeExpired } from './remove-expired.ts';
import { systemClock } from '@drover/lease-kit';

let pool: Pool;
beforeAll(() => {
  pool = new Pool({ connectionString: testPostgresUrl(), max: 8 });
});
afterAll(() => pool.end());

test('migrations are numbered from 1 without gaps', () => {
  expect(migrations.map(({ id }) => id)).toEqual(migrations.map((_, index) => index + 1));
});

test('any number of processes may migrate at once, each migration happens once, and again changes nothing', async () => {
  const schema = `test_${randomBytes(8).toString('hex')}`;
  const results = await Promise.all([1, 2, 3, 4].map(() => migrate(pool, { schema })));
  expect(results.filter(({ from }) => from === 0)).not.toHaveLength(0);
  expect(new Set(results.map(({ to }) => to))).toEqual(new Set([newestMigration]));
  expect(await migrate(pool, { schema })).toEqual({ from: newestMigration, to: newestMigration });
  const { rows } = await pool.query(`select id, name, is_breaking from ${schema}.migrations order by id`);
  expect(rows).toEqual(migrations.map(({ id, name, isBreaking }) => ({ id, name, is_breaking: isBreaking })));
  await pool.query(`drop schema ${schema} cascade`);
});

test('a store refuses a schema that is not there, a newer breaking one, and takes a newer one that is not', async () => {
  const schema = `test_${randomBytes(8).toString('hex')}`;
  const store = createPostgresStore({ pool }, { schema });
  await expect(store.check()).rejects.toMatchObject({ code: 'SCHEMA_TOO_OLD' });
  await expect(store.queue.enqueue([sampleEntry()], context)).rejects.toMatchObject({ code: 'SCHEMA_TOO_OLD' });
  await migrate(pool, { schema });
  await store.sessions.beat('server', context);

  const add = (id: number, isBreaking: boolean) =>
    pool.query(`insert into ${schema}.migrations (id, name, is_breaking) values ($1, 'later', $2)`, [id, isBreaking]);
  await add(newestMigration + 1, false);
  await store.check();
  expect(await migrate(pool, { schema })).toEqual({ from: newestMigration + 1, to: newestMigration + 1 });
  await store.sessions.beat('server', context);

  await add(newestMigration + 2, true);
  await expect(store.check()).rejects.toMatchObject({ code: 'SCHEMA_TOO_NEW' });
  await expect(migrate(pool, { schema })).rejects.toMatchObject({ code: 'SCHEMA_TOO_NEW' });
  // A server that runs finds out at its next beat, and writes nothing from then on.
  await expect(store.sessions.beat('server', context)).rejects.toMatchObject({ code: 'SCHEMA_TOO_NEW' });
  await expect(store.queue.enqueue([sampleEntry()], context)).rejects.toMatchObject({ code: 'SCHEMA_TOO_NEW' });
  const late = createPostgresStore({ pool }, { schema });
  await expect(late.queue.enqueue([sampleEntry()], context)).rejects.toMatchObject({ code: 'SCHEMA_TOO_NEW' });
  await Promise.all([store.close(), late.close()]);
  await pool.query(`drop schema ${schema} cascade`);
});

test('a schema name that could not stand in a statement is refused', async () => {
  await expect(migrate(pool, { schema: 'a"; drop' })).rejects.toMatchObject({ code: 'STORE_INPUT_INVALID' });
  expect(() => createPostgresStore({ pool }, { schema: 'A' })).toThrow(/lower-case/);
});

test('what ends goes to the partition of its week; partitions beyond the retention are dropped, and what belongs to them', async () => {
  await using fresh = await freshSchema();
  const { schema } = fresh;
  const store = fresh.store();
  const session = await sampleSession(store, 'agent-1');
  await store.queue.enqueue([sampleEntry()], context);
  const [attempt] = await claimAll(store, [session]);
  const log = { ...attempt!, log: 'out', offset: 0, data: new Uint8Array(3), complete: true };
  await store.logs.append(log, context);
  await store.attempts.record([endOf(attempt!)], context);
  const partitions = async (table: string) =>
    (
      await fresh.pool.query(
        `select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = $1::regclass order by 1`,
        [`${schema}.${table}`],
      )
    ).rows.map((row) => row.relname as string);
  const place = await fresh.pool.query(`select tableoid::regclass::text as place from ${schema}.lease_history`);
  const weeks = await partitions('lease_history');
  expect(weeks).toHaveLength(4);
  expect(place.rows[0].place).toBe(`${schema}.${weeks[1]}`);

  const database = new Database(
    { pool: fresh.pool, clock: systemClock, logger: silentLogger },
    { callTimeoutMs: 5_000 },
  );
  const quoted = `"${schema}"`;
  const old = `lease_history_w${Number(/\d+$/.exec(weeks[1] ?? '')?.[0]) - 60}`;
  await fresh.pool.query(
    `create table ${schema}.${old} partition of ${schema}.lease_history for values from ('2020-01-02') to ('2020-01-09')`,
  );
  const dayMs = 86_400_000;
  await keepPartitions(database, { schema: quoted }, silentLogger);
  expect(await partitions('lease_history')).toContain(old);
  await keepPartitions(database, { schema: quoted, retentionMs: 30 * dayMs }, silentLogger);
  expect(await partitions('lease_history')).toEqual(weeks);

  await fresh.pool.query(`update ${schema}.logs set updated_at = now() - interval '40 days'`);
  await removeExpired(database, quoted, 90 * dayMs);
  expect(await store.logs.list(attempt!, context)).toHaveLength(1);
  await removeExpired(database, quoted, 30 * dayMs);
  expect(await store.logs.list(attempt!, context)).toHaveLength(0);
  database.close();
});

test('rows without a partition of their week are kept, and a partition that they stand in the way of is left out', async () => {
  await using fresh = await freshSchema();
  const { schema } = fresh;
  for (const table of ['lease_history', 'attempt_history', 'log_chunks']) {
    const { rows } = await fresh.pool.query(
      `select c.oid::regclass::text as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = $1::regclass and c.relname not like '%default'`,
      [`${schema}.${table}`],
    );
    for (const { name } of rows) await fresh.pool.query(`drop table ${name}`);
  }
  const store = fresh.store();
  const session = await sampleSession(store, 'agent-1');
  await store.queue.enqueue([sampleEntry()], context);
  const [attempt] = await claimAll(store, [session]);
  await store.attempts.record([endOf(attempt!)], context);
  const database = new Database(
    { pool: fresh.pool, clock: systemClock, logger: silentLogger },
    { callTimeoutMs: 5_000 },
  );
  await keepPartitions(database, { schema: `"${schema}"` }, silentLogger);
  database.close();
  expect((await store.jobs.lease(attempt!.leaseId, context)).state).toBe('ended');
});
