import { checkCount, isUuid, storeLimits, storedMessage } from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';

/** How far an attempt is. */
export interface ProgressEntry {
  readonly leaseId: string;
  readonly attempt: number;
  readonly percent: number;
  readonly message: string;
}

/** Keeps the newest progress of bound attempts: 1 round trip, one unlogged row for each lease, no wait for the disk. */
export class RecordProgress {
  readonly #upsert: Statement;

  constructor(s: string) {
    this.#upsert = statement(
      'progress',
      `insert into ${s}.progress as p (lease_id, attempt, percent, message)
       select n.lease_id, n.attempt, n.percent, n.message
         from unnest($1::uuid[], $2::int[], $3::smallint[], $4::text[]) as n(lease_id, attempt, percent, message)
        where exists (select 1 from ${s}.leases l
                       where l.lease_id = n.lease_id and l.attempt = n.attempt and l.agent_id is not null)
       on conflict (lease_id) do update
         set attempt = excluded.attempt, percent = excluded.percent, message = excluded.message, updated_at = now()
       where p.attempt <= excluded.attempt`,
    );
  }

  async run(session: Session, entries: readonly ProgressEntry[]): Promise<void> {
    checkCount('entries', entries.length, storeLimits.writesPerCallMax);
    const newest = new Map<string, ProgressEntry>();
    for (const entry of entries) {
      if (!isUuid(entry.leaseId) || !Number.isSafeInteger(entry.attempt) || entry.attempt > 2 ** 31 - 1) continue;
      newest.set(`${entry.leaseId} ${entry.attempt}`, entry);
    }
    if (newest.size === 0) return;
    const rows = [...newest.values()].sort((a, b) => (a.leaseId < b.leaseId ? -1 : 1));
    await session.run(this.#upsert, [
      rows.map((row) => row.leaseId),
      rows.map((row) => row.attempt),
      rows.map((row) => Math.min(100, Math.max(0, Math.round(row.percent) || 0))),
      rows.map((row) => storedMessage(row.message)),
    ]);
  }
}
