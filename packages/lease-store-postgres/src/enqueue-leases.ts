import type { AssignedAttempt } from '@drover/lease-kit';
import { leaseExists, type EnqueueEntry, type SessionRef } from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';
import { retryBits } from './internal/outcome-code.ts';
import { expiresAtSql, storedTerms, termsArray, termsOf } from './internal/lease-terms.ts';
import { packBytes } from './internal/packed-bytes.ts';
import { plainArray, textArray } from './internal/sql-array.ts';
import { constraintOf } from './internal/postgres-error.ts';
import { DistinctSessions } from './internal/distinct-sessions.ts';
import type { LeaseClasses } from './lease-classes.ts';

/** What an insert of leases answers: those that were bound, or an id that was taken. */
export interface InsertedLease {
  readonly lease_id: string;
  readonly is_taken: boolean;
}

/**
 * SQL that inserts leases from arrays: `head` and `tail` are CTEs, between which a caller may put its own. Rows written for each lease: one, with its entry in the primary key, in the
 * waiting or in the bound index, and in the job index if it has a job. `jobsFilter` keeps leases out whose job was not
 * stored. With `binds`, the sessions are verified under a share lock, which openSession waits for: a lease is never
 * bound to a session that has been replaced.
 */
export function insertLeasesSql(
  s: string,
  from: number,
  { binds, jobsFilter }: { binds: boolean; jobsFilter: string },
) {
  const $ = (n: number) => `$${from + n}`;
  const terms = $(binds ? 17 : 14);
  const session = binds
    ? `case when (select flags from current_sessions)[i.session_no] then i.session_no end`
    : 'null::int';
  return {
    head: `
      taken as materialized (
        select h.lease_id from ${s}.lease_history h
         where h.lease_id = any(${$(0)}::uuid[]) and h.ended_at >= ${$(binds ? 16 : 13)}::timestamptz limit 1)`,
    tail: `
      ${
        binds
          ? `current_sessions as materialized (
               select array_agg(a.ok is not null order by d.no) as flags
                 from unnest(${$(13)}::text[], ${$(14)}::bigint[]) with ordinality as d(agent_id, epoch, no)
                 left join lateral (
                   select true as ok from ${s}.agents a
                    where a.agent_id = d.agent_id and a.epoch = d.epoch and a.session_id is not null
                      for share skip locked) a on true),`
          : ''
      }
      input as (
        select i.*, ${session} as bound_no
          from unnest(${$(0)}::uuid[], ${$(1)}::uuid[], ${$(2)}::int[], ${$(3)}::smallint[], ${$(4)}::bigint[],
                      ${$(5)}::bigint[], ${$(6)}::smallint[], ${$(7)}::smallint[], ${$(8)}::int[], ${$(9)}::text[],
                      ${$(10)}::int[], ${$(11)}::int[], ${terms}::jsonb[]${binds ? `, ${$(15)}::int[]` : ''})
            as i(lease_id, job_id, class_id, rank, run_limit_ms, cancel_grace_ms, attempts_max, retry_after,
                 backoff_ms, name, place, size, terms${binds ? ', session_no' : ''})
         ${jobsFilter}),
      inserted as (
        insert into ${s}.leases (lease_id, job_id, class_id, rank, run_limit_ms, cancel_grace_ms, attempts_max,
                                 retry_after, backoff_ms, name, payload, terms, expires_at, state, attempt, agent_id,
                                 epoch, assigned_at)
        select i.lease_id, i.job_id, i.class_id, i.rank, i.run_limit_ms, i.cancel_grace_ms, i.attempts_max,
               i.retry_after, i.backoff_ms, i.name, substring(${$(12)}::bytea from i.place for i.size), i.terms, ${expiresAtSql('i.terms')},
               ${
                 binds
                   ? `(i.bound_no is not null)::int, (i.bound_no is not null)::int, (${$(13)}::text[])[i.bound_no],
                      (${$(14)}::bigint[])[i.bound_no], case when i.bound_no is not null then now() end`
                   : `0, 0, null, null, null`
               }
          from input i where not exists (select 1 from taken)
        returning lease_id, job_id, state)`,
  };
}

/** Values for the parameters of {@link insertLeasesSql}. */
export function insertLeasesValues(
  entries: readonly EnqueueEntry[],
  classIds: readonly number[],
  sessions?: DistinctSessions,
) {
  const payloads = packBytes(entries.map(({ draft }) => draft.payload.value));
  const drafts = entries.map(({ draft }) => draft);
  return [
    plainArray(drafts.map((draft) => draft.leaseId)),
    plainArray(entries.map(({ jobId }) => jobId)),
    plainArray(classIds),
    plainArray(drafts.map((draft) => -draft.priority)),
    plainArray(drafts.map((draft) => draft.runLimitMs)),
    plainArray(drafts.map((draft) => draft.cancelGraceMs)),
    plainArray(drafts.map((draft) => draft.retry.attemptsMax)),
    plainArray(drafts.map((draft) => retryBits(draft.retry))),
    plainArray(drafts.map((draft) => draft.retry.backoffMs)),
    textArray(drafts.map((draft) => draft.name)),
    plainArray(payloads.offsets),
    plainArray(payloads.lengths),
    payloads.bytes,
    ...(sessions ? [textArray(sessions.agentIds), plainArray(sessions.epochs), plainArray(sessions.numbers)] : []),
    earliestEnd(drafts.map((draft) => draft.leaseId)),
    termsArray(drafts),
  ];
}

/**
 * Stores leases. 1 round trip, 1 commit. One lease that waits has a statement of its own: without arrays and their CTEs it
 * costs Postgres half.
 */
export class EnqueueLeases {
  readonly #classes: LeaseClasses;
  readonly #one: Statement;
  readonly #waiting: Statement;
  readonly #bound: Statement;

  constructor(s: string, classes: LeaseClasses) {
    this.#classes = classes;
    this.#one = statement(
      'enqueue_one',
      `insert into ${s}.leases (lease_id, job_id, class_id, rank, run_limit_ms, cancel_grace_ms, attempts_max,
                               retry_after, backoff_ms, name, payload, terms, expires_at, state, attempt)
       select $1::uuid, $2::uuid, $3::int, $4::smallint, $5::bigint, $6::bigint, $7::smallint,
              $8::smallint, $9::int, $10::text, $11::bytea, $13::jsonb, ${expiresAtSql('$13::jsonb')}, 0, 0
        where not exists (
          select from ${s}.lease_history h where h.lease_id = $1::uuid and h.ended_at >= $12::timestamptz)
       returning true as is_stored`,
    );
    const waiting = insertLeasesSql(s, 1, { binds: false, jobsFilter: '' });
    this.#waiting = statement(
      'enqueue',
      `with ${waiting.head}, ${waiting.tail} select lease_id, true as is_taken from taken`,
    );
    const bound = insertLeasesSql(s, 1, { binds: true, jobsFilter: '' });
    this.#bound = statement(
      'enqueue_bound',
      `with ${bound.head}, ${bound.tail}
       select lease_id, true as is_taken from taken
       union all select lease_id, false from inserted where state > 0`,
    );
  }

  async run(session: Session, entries: readonly EnqueueEntry[]): Promise<AssignedAttempt[]> {
    if (entries.length === 0) return [];
    const classIds = await this.#classes.idsFor(
      session,
      entries.map(({ draft }) => draft),
    );
    const binds = entries.some(({ bindTo }) => bindTo !== undefined);
    const [first] = entries;
    try {
      if (first && entries.length === 1 && !binds) return await this.#runOne(session, first, classIds[0]!);
      const sessions = binds ? new DistinctSessions(entries.map(({ bindTo }) => bindTo)) : undefined;
      const values = insertLeasesValues(entries, classIds, sessions);
      const rows = await session.run<InsertedLease>(binds ? this.#bound : this.#waiting, values);
      return assignedFrom(rows, entries);
    } catch (error) {
      throw leaseConflict(error) ?? error;
    }
  }

  async #runOne(session: Session, { draft, jobId }: EnqueueEntry, classId: number): Promise<AssignedAttempt[]> {
    const { leaseId, retry, payload } = draft;
    const { buffer, byteOffset, byteLength } = payload.value;
    const stored = await session.run(this.#one, [
      leaseId,
      jobId ?? null,
      classId,
      -draft.priority,
      draft.runLimitMs,
      draft.cancelGraceMs,
      retry.attemptsMax,
      retryBits(retry),
      retry.backoffMs,
      draft.name,
      Buffer.from(buffer, byteOffset, byteLength),
      earliestEnd([leaseId]),
      storedTerms(draft),
    ]);
    if (stored.length === 0) throw leaseExists(leaseId);
    return [];
  }
}

/** The attempts that an insert bound. Throws `LEASE_EXISTS` if it met an id that was taken. */
export function assignedFrom(rows: readonly InsertedLease[], entries: readonly EnqueueEntry[]): AssignedAttempt[] {
  const taken = rows.find((row) => row.is_taken);
  if (taken) throw leaseExists(taken.lease_id);
  if (rows.length === 0) return [];
  const bound = new Set(rows.map((row) => row.lease_id));
  return entries.flatMap(({ draft, bindTo }) =>
    bindTo && bound.has(draft.leaseId) ? [firstAttempt(draft, bindTo)] : [],
  );
}

function firstAttempt(draft: EnqueueEntry['draft'], bound: SessionRef): AssignedAttempt {
  const { leaseId, payload, requirements, runLimitMs, cancelGraceMs } = draft;
  const { agentId, epoch } = bound;
  return { leaseId, attempt: 1, agentId, epoch, payload, requirements, runLimitMs, cancelGraceMs, ...termsOf(draft) };
}

/** `LEASE_EXISTS` for a violation of the leases' primary key. */
export function leaseConflict(error: unknown): Error | undefined {
  if (constraintOf(error) !== 'leases_pkey') return undefined;
  const detail = (error as { detail?: string }).detail ?? '';
  return leaseExists(/\(lease_id\)=\(([^)]*)\)/.exec(detail)?.[1] ?? 'of this call');
}

const dayMs = 86_400_000;

/**
 * Before this no lease with one of these ids can have ended, so that the search for ids that were used before needs few
 * partitions: a UUID of version 7 says when it was made. Clocks may differ by a day.
 */
function earliestEnd(leaseIds: readonly string[]): string {
  let earliestMs = Number.POSITIVE_INFINITY;
  for (const id of leaseIds) {
    if (id[14] !== '7') return '-infinity';
    earliestMs = Math.min(earliestMs, Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16));
  }
  // A version 7 id may still carry any number; what is no plausible date restricts nothing.
  if (earliestMs < dayMs || earliestMs > 8.64e15) return '-infinity';
  return new Date(Math.min(earliestMs, Date.now()) - dayMs).toISOString();
}
