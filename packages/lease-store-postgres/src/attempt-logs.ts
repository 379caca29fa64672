import {
  checkLogAppend,
  checkLogRef,
  checkWhole,
  isUuid,
  logFull,
  sessionFenced,
  storeLimits,
  type LogAppend,
  type LogRef,
} from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';

interface AppendRow {
  readonly is_bound: boolean;
  readonly size_bytes: number | null;
}

/** The logs of attempts. An append is 1 round trip and 1 commit: the log's row, heap-only, and one chunk. */
export class AttemptLogs {
  readonly #append: Statement;
  readonly #header: Statement;
  readonly #chunks: Statement;
  readonly #list: Statement;

  constructor(s: string) {
    const key = (table: string) => `${table}.lease_id = $1 and ${table}.attempt = $2`;
    this.#append = statement(
      'log_append',
      `with bound as materialized (
         select 1 from ${s}.leases l where ${key('l')} and l.agent_id is not distinct from $3 and l.epoch = $4),
       touched as (
         insert into ${s}.logs as g (lease_id, attempt, log, size_bytes, size_before, complete)
         select $1, $2, $5, case when $6::bigint = 0 then $7::bigint else 0 end, 0, $8::boolean and $6::bigint = 0
           from bound
          where exists (select 1 from ${s}.logs k where ${key('k')} and k.log = $5)
             or (select count(*) from ${s}.logs k where ${key('k')}) < ${storeLimits.logsPerAttemptMax}
         on conflict on constraint logs_pkey do update
           set size_before = g.size_bytes,
               size_bytes = case when $6 <= g.size_bytes then greatest(g.size_bytes, $6 + $7) else g.size_bytes end,
               complete = g.complete or ($8 and $6 <= g.size_bytes and $6 + $7 >= g.size_bytes),
               updated_at = now()
         returning g.size_before, g.size_bytes),
       written as (
         insert into ${s}.log_chunks (lease_id, attempt, log, "offset", data)
         select $1, $2, $5, size_before, substring($9::bytea from (size_before - $6)::int + 1)
           from touched where size_bytes > size_before)
       select exists (select 1 from bound) as is_bound, (select size_bytes from touched) as size_bytes`,
    );
    this.#header = statement(
      'log_header',
      `select size_bytes, complete from ${s}.logs k where ${key('k')} and k.log = $3`,
    );
    this.#chunks = statement(
      'log_chunks',
      `select c."offset", c.data from ${s}.log_chunks c
        where ${key('c')} and c.log = $3 and c."offset" < $5
          and c."offset" >= coalesce((
            select max(b."offset") from ${s}.log_chunks b where ${key('b')} and b.log = $3 and b."offset" <= $4), 0)
        order by c."offset"`,
    );
    this.#list = statement(
      'log_list',
      `select log, size_bytes, complete from ${s}.logs k where ${key('k')} order by log`,
    );
  }

  async append(session: Session, entry: LogAppend): Promise<{ committedBytes: number }> {
    checkLogAppend(entry);
    const { leaseId, attempt, log, offset, data } = entry;
    if (offset + data.length > storeLimits.logBytesMax) {
      throw logFull(log, `a log has at most ${storeLimits.logBytesMax} bytes`);
    }
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.length);
    const [row] = await session.run<AppendRow>(this.#append, [
      leaseId,
      attempt,
      entry.agentId,
      entry.epoch,
      log,
      offset,
      data.length,
      entry.complete,
      bytes,
    ]);
    if (!row?.is_bound) throw sessionFenced(entry, `Attempt ${attempt} of lease ${leaseId}`);
    if (row.size_bytes === null) {
      throw logFull(log, `an attempt has at most ${storeLimits.logsPerAttemptMax} logs`);
    }
    return { committedBytes: row.size_bytes };
  }

  async read(session: Session, ref: LogRef, range: { offset: number; limitBytes: number }) {
    checkLogRef(ref);
    checkWhole('offset', range.offset, 0, Number.MAX_SAFE_INTEGER);
    checkWhole('limitBytes', range.limitBytes, 0, storeLimits.logReadBytesMax);
    const key = [ref.leaseId, ref.attempt, ref.log];
    const [header] = await session.run<{ size_bytes: number; complete: boolean }>(this.#header, key);
    const sizeBytes = header?.size_bytes ?? 0;
    const complete = header?.complete ?? false;
    const end = Math.min(sizeBytes, range.offset + range.limitBytes);
    if (range.offset >= end) return { data: new Uint8Array(), sizeBytes, complete };
    const rows = await session.run<{ offset: number; data: Uint8Array }>(this.#chunks, [...key, range.offset, end]);
    const parts = rows.map((row) =>
      row.data.subarray(Math.max(0, range.offset - row.offset), Math.max(0, end - row.offset)),
    );
    return { data: new Uint8Array(Buffer.concat(parts)), sizeBytes, complete };
  }

  async list(session: Session, attempt: { leaseId: string; attempt: number }) {
    if (!isUuid(attempt.leaseId)) return [];
    const rows = await session.run<{ log: string; size_bytes: number; complete: boolean }>(this.#list, [
      attempt.leaseId,
      attempt.attempt,
    ]);
    return rows.map((row) => ({ log: row.log, sizeBytes: row.size_bytes, complete: row.complete }));
  }
}
