import type { CompileRecord, CompileRecordDraft, CompileRecordQuery } from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';
import { plainArray, textArray } from './internal/sql-array.ts';

/** Records of compiles, each once. */
export class CompileRecords {
  readonly #insert: Statement;
  readonly #endPlaces: Statement;
  readonly #select: Statement;

  constructor(s: string) {
    this.#insert = statement(
      'compile_records_insert',
      `insert into ${s}.compile_records (compile_id, started_at, tenant_id, worker_id, record)
       select compile_id, to_timestamp(started_ms / 1000), tenant_id, worker_id, record::jsonb
         from unnest($1::uuid[], $2::float8[], $3::text[], $4::text[], $5::text[])
              with ordinality as r(compile_id, started_ms, tenant_id, worker_id, record, n)
        order by n
       on conflict do nothing
       returning tenant_id, worker_id`,
    );
    // The oldest first, since they expire first.
    this.#endPlaces = statement(
      'compile_places_end',
      `with ended as (
         select tenant_id, worker_id, count(*) as ended
           from unnest($1::text[], $2::text[]) as e(tenant_id, worker_id) group by 1, 2
       ), candidates as (
         select p.tenant_id, p.worker_id, p.issued_at, e.ended,
                sum(p.open) over (partition by p.tenant_id, p.worker_id order by p.issued_at) - p.open as before
           from ${s}.compile_places p join ended e using (tenant_id, worker_id)
          where p.open > 0
       )
       update ${s}.compile_places p set open = p.open - least(p.open, c.ended - c.before)
         from candidates c
        where p.tenant_id = c.tenant_id and p.worker_id = c.worker_id and p.issued_at = c.issued_at and c.before < c.ended`,
    );
    this.#select = statement(
      'compile_records_select',
      `select record_id::text as record_id, record::text as record from ${s}.compile_records r
        where r.record_id < coalesce($1::bigint, 9223372036854775807)
          and ($2::text is null or tenant_id = $2)
          and ($3::text is null or worker_id = $3)
        order by r.record_id desc limit $4`,
    );
  }

  /** In a transaction. */
  async add(session: Session, drafts: readonly CompileRecordDraft[]): Promise<void> {
    if (drafts.length === 0) return;
    const added = await session.run<{ tenant_id: string; worker_id: string }>(this.#insert, [
      plainArray(drafts.map(({ compileId }) => compileId)),
      plainArray(drafts.map(({ startedAtMs }) => startedAtMs)),
      textArray(drafts.map(({ tenantId }) => tenantId)),
      textArray(drafts.map(({ workerId }) => workerId)),
      textArray(drafts.map((draft) => JSON.stringify(draft))),
    ]);
    if (added.length === 0) return;
    await session.run(this.#endPlaces, [
      textArray(added.map(({ tenant_id }) => tenant_id)),
      textArray(added.map(({ worker_id }) => worker_id)),
    ]);
  }

  async page(session: Session, { before, tenantId, workerId, limit }: CompileRecordQuery): Promise<CompileRecord[]> {
    const values = [before ?? null, tenantId ?? null, workerId ?? null, limit];
    const rows = await session.run<{ record_id: string; record: string }>(this.#select, values);
    return rows.map(({ record_id: recordId, record }) => ({ ...(JSON.parse(record) as CompileRecordDraft), recordId }));
  }
}
