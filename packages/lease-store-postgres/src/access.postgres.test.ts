import { createHash, randomUUID } from 'node:crypto';
import { silentLogger, systemClock } from '@drover/lease-kit';
import type { AuditDraft, StoreSignal } from '@drover/lease-store';
import { sampleContext as context } from '@drover/lease-store/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshSchema, type FreshSchema } from './fresh-schema.test.fixture.ts';
import { keepPartitions } from './history-partitions.ts';
import { Database } from './internal/database.ts';

let fresh: FreshSchema;
beforeAll(async () => {
  fresh = await freshSchema();
});
afterAll(() => fresh[Symbol.asyncDispose]());

const line: AuditDraft = { who: 'user:ada', credential: 'test', address: '', action: 'a.b', subject: 'x:1' };

test('no statement changes a line of the audit, and none removes one', async () => {
  await fresh.store().audit.append([line], context);
  const { schema, pool } = fresh;
  await expect(pool.query(`update ${schema}.audit set who = 'user:eve'`)).rejects.toThrow(/never changed/);
  await expect(pool.query(`delete from ${schema}.audit`)).rejects.toThrow(/never changed/);
});

test('lines of the audit go with their week, after a time of their own', async () => {
  const { schema, pool } = fresh;
  const dayMs = 86_400_000;
  const week = Math.floor((Date.now() - 100 * dayMs) / (7 * dayMs));
  const edge = (at: number) => new Date(at * 7 * dayMs).toISOString();
  const range = `for values from ('${edge(week)}') to ('${edge(week + 1)}')`;
  for (const table of ['audit', 'lease_history']) {
    await pool.query(`create table ${schema}.${table}_w${week} partition of ${schema}.${table} ${range}`);
  }
  const database = new Database({ pool, clock: systemClock, logger: silentLogger }, { callTimeoutMs: 5_000 });
  const left = async () => {
    const { rows } = await pool.query(
      `select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = $1 and c.relname like '%\\_w${week}' order by 1`,
      [schema],
    );
    return rows.map((row) => row.name as string);
  };
  const times = { schema: `"${schema}"`, retentionMs: 30 * dayMs };
  await keepPartitions(database, { ...times, auditRetentionMs: 400 * dayMs }, silentLogger);
  expect(await left()).toEqual([`audit_w${week}`]);
  await keepPartitions(database, { ...times, auditRetentionMs: 30 * dayMs }, silentLogger);
  expect(await left()).toEqual([]);
  database.close();
});

test('a revocation reaches the other servers', async () => {
  const [here, there] = [fresh.store(), fresh.store()];
  const hash = createHash('sha256').update('secret').digest();
  const tokenId = randomUUID();
  await here.access.createToken({ tokenId, hash, user: 'ci', role: 'viewer', pools: [], comment: '' }, context);
  const heard: StoreSignal[] = [];
  there.signals.listen((signal) => heard.push(signal));
  // Listening takes a moment; a revocation that changes nothing is told again.
  await expect
    .poll(async () => {
      await here.access.revokeToken(tokenId, context);
      return heard;
    })
    .toContainEqual({ kind: 'token', tokenId });
});
