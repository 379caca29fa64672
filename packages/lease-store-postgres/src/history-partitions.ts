import { messageOf, type Logger } from '@drover/lease-kit';
import type { Database } from './internal/database.ts';
import { errorFromPostgres, sqlStateOf } from './internal/postgres-error.ts';

/** Tables that are partitioned by time, a partition a week. */
const partitionedTables = ['lease_history', 'attempt_history', 'log_chunks', 'audit', 'compile_records'] as const;
const weekMs = 7 * 86_400_000;
const weeksAhead = 2;

/** How {@link keepPartitions} works. */
export interface KeepPartitionsOptions {
  /** The quoted schema. */
  readonly schema: string;
  /** Partitions whose newest row is older are dropped; absent means that nothing is. */
  readonly retentionMs?: number | undefined;
  /** The same for the audit. */
  readonly auditRetentionMs?: number | undefined;
}

/**
 * Creates the partitions of this week and the next two, and drops those beyond the retention. Several servers may do it
 * at once. Until a partition exists its rows go to the default partition, so that an insert never fails for lack of one.
 */
export async function keepPartitions(
  database: Database,
  { schema, retentionMs, auditRetentionMs }: KeepPartitionsOptions,
  logger: Logger,
): Promise<void> {
  const rows = await database.call(undefined, (session) =>
    session.text<{ now_ms: string; parent: string; child: string }>(
      `select floor(extract(epoch from now()) * 1000)::bigint as now_ms, p.relname as parent, c.relname as child
         from pg_class p
         join pg_namespace n on n.oid = p.relnamespace
         join pg_inherits i on i.inhparent = p.oid
         join pg_class c on c.oid = i.inhrelid
        where n.nspname = $1 and p.relkind = 'p'`,
      [schema.slice(1, -1)],
    ),
  );
  const nowMs = Number(rows[0]?.now_ms ?? Date.now());
  for (const table of partitionedTables) {
    const existing = rows.filter((row) => row.parent === table).map((row) => row.child);
    const thisWeek = Math.floor(nowMs / weekMs);
    for (let week = thisWeek; week <= thisWeek + weeksAhead; week += 1) {
      const name = `${table}_w${week}`;
      if (existing.includes(name)) continue;
      const [from, to] = [week, week + 1].map((edge) => new Date(edge * weekMs).toISOString());
      await change(
        database,
        logger,
        `create table if not exists ${schema}.${name} partition of ${schema}.${table} for values from ('${from}') to ('${to}')`,
      );
    }
    const keptMs = table === 'audit' ? auditRetentionMs : retentionMs;
    if (keptMs === undefined) continue;
    for (const name of existing) {
      const week = /_w(\d+)$/.exec(name)?.[1];
      if (week === undefined || (Number(week) + 1) * weekMs > nowMs - keptMs) continue;
      await change(database, logger, `drop table if exists ${schema}.${name}`);
    }
  }
}

/** States of an attempt that another server won, or that must wait for a quieter moment. */
const harmless = new Set([
  '42P07', // exists already
  '42P17', // overlaps with one that exists
  '23514', // the default partition has rows of that week: they stay there
  '55P03', // somebody holds a lock for longer than a second
  '40P01',
]);

async function change(database: Database, logger: Logger, text: string): Promise<void> {
  try {
    await database.transaction(undefined, async (session) => {
      // A partition's change locks its parent against writes, so that it must never queue for long.
      await session.text(`set local lock_timeout = '1s'`);
      await session.text(text);
    });
  } catch (error) {
    const cause = (error as { cause?: unknown }).cause ?? error;
    if (!harmless.has(sqlStateOf(cause) ?? '')) throw errorFromPostgres(error);
    logger.info({ err: messageOf(cause) }, 'a partition was left as it is');
  }
}
