import type { Database } from './internal/database.ts';

const batch = 5_000;

/**
 * Removes rows beyond the retention that stand in no partition: jobs without live leases, headers of logs, what was once
 * wanted of agents, and progress of leases that have ended. In batches of 5,000, each a commit of its own, so that no lock is held for long.
 * Removes rows beyond the retention that stand in no partition: jobs without live leases, headers of logs, tokens and
 * progress of leases that have ended. In batches of 5,000, each a commit of its own, so that no lock is held for long.
 */
export async function removeExpired(database: Database, s: string, retentionMs: number | undefined): Promise<void> {
  const remove = async (table: string, condition: string, values: unknown[]) => {
    for (;;) {
      const rows = await database.call(undefined, (session) =>
        session.text(
          `delete from ${s}.${table} where ctid = any(array(
             select t.ctid from ${s}.${table} t where ${condition} limit ${batch})) returning 1`,
          values,
        ),
      );
      if (rows.length < batch) return;
    }
  };
  const noLease = (column: string) => `not exists (select 1 from ${s}.leases l where l.${column} = t.${column})`;
  await remove('progress', `t.updated_at < now() - interval '1 day' and ${noLease('lease_id')}`, []);
  await remove('compile_places', `t.expires_at < now() - interval '1 minute'`, []);
  if (retentionMs === undefined) return;
  const old = (time: string) => `${time} < now() - $1 * interval '1 millisecond'`;
  await remove('jobs', `${old('t.created_at')} and ${noLease('job_id')}`, [retentionMs]);
  await remove(
    'agent_tasks',
    `(not t.wanted or t.expires_at < now()) and t.lease_id is null and ${old('greatest(t.last_at, t.requested_at)')}`,
    [retentionMs],
  );
  // Those whose time of start is none of ours, as of a worker whose clock is wrong.
  await remove('compile_records_default', old('t.recorded_at'), [retentionMs]);
  await remove('logs', `${old('t.updated_at')} and ${noLease('lease_id')}`, [retentionMs]);
  await remove('tokens', old('coalesce(t.revoked_at, t.expires_at)'), [retentionMs]);
}
