import {
  auditDraftOf,
  auditText,
  checkAuditDrafts,
  checkAuditQuery,
  type AuditDraft,
  type AuditEntry,
  type AuditQuery,
  type ChangeNote,
  type StoreContext,
} from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';

interface AuditRow {
  entry_id: string;
  at_ms: number;
  who: string;
  credential: string;
  address: string;
  action: string;
  subject: string;
  before: string | null;
  after: string | null;
}

/** The audit: lines are added and read. */
export class AuditLines {
  readonly #insert: Statement;
  readonly #select: Statement;

  constructor(s: string) {
    this.#insert = statement(
      'audit_insert',
      `insert into ${s}.audit (who, credential, address, action, subject, before, after)
       select who, credential, address, action, subject, before::jsonb, after::jsonb
         from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
              with ordinality as l(who, credential, address, action, subject, before, after, n)
        order by n`,
    );
    this.#select = statement(
      'audit_select',
      `select entry_id::text as entry_id, floor(extract(epoch from at) * 1000)::float8 as at_ms, who, credential, address,
              action, subject, before::text as before, after::text as after
         from ${s}.audit
        where entry_id < coalesce($1::bigint, 9223372036854775807)
          and at >= coalesce(to_timestamp($2::float8 / 1000), '-infinity')
          and at < coalesce(to_timestamp($3::float8 / 1000), 'infinity')
          and ($4::text is null or who = $4 or substr(who, strpos(who, ':') + 1) = $4)
          and ($5::text is null or action = $5 or split_part(action, '.', 1) = $5)
          and ($6::text is null or subject = $6 or split_part(subject, ':', 1) = $6)
        order by entry_id desc limit $7`,
    );
  }

  /** Writes what a change did, where it is a person's: in the transaction that makes the change. */
  async write(session: Session, context: StoreContext, note: ChangeNote): Promise<void> {
    const draft = auditDraftOf(context, note);
    if (draft === undefined) return;
    await this.append(session, [draft]);
    context.change?.wroteNote();
  }

  async append(session: Session, entries: readonly AuditDraft[]): Promise<void> {
    checkAuditDrafts(entries);
    if (entries.length === 0) return;
    await session.run(this.#insert, [
      entries.map(({ who }) => who),
      entries.map(({ credential }) => credential),
      entries.map(({ address }) => address),
      entries.map(({ action }) => action),
      entries.map(({ subject }) => subject),
      entries.map(({ before }) => auditText(before) ?? null),
      entries.map(({ after }) => auditText(after) ?? null),
    ]);
  }

  async entries(session: Session, query: AuditQuery): Promise<AuditEntry[]> {
    checkAuditQuery(query);
    const { before, sinceMs, untilMs, who, action, subject, limit } = query;
    const values = [before, sinceMs, untilMs, who, action, subject].map((value) => value ?? null);
    const rows = await session.run<AuditRow>(this.#select, [...values, limit]);
    return rows.map(({ entry_id: entryId, at_ms: atMs, before: was, after: is, ...rest }) => ({
      ...rest,
      entryId,
      atMs,
      ...(was === null ? {} : { before: JSON.parse(was) as Record<string, unknown> }),
      ...(is === null ? {} : { after: JSON.parse(is) as Record<string, unknown> }),
    }));
  }
}
