import type { AssignedAttempt } from '@drover/lease-kit';
import type { ClaimRequest, ClaimShare } from '@drover/lease-store';
import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { statement, type Session, type Statement } from './internal/database.ts';
import { DistinctSessions } from './internal/distinct-sessions.ts';
import type { LeaseTerms } from './internal/lease-terms.ts';
import { plainArray, textArray } from './internal/sql-array.ts';
import type { LeaseClasses } from './lease-classes.ts';

interface ClaimedRow {
  readonly lease_id: string;
  readonly attempt: number;
  readonly session_no: number;
  readonly class_id: number;
  readonly run_limit_ms: number;
  readonly cancel_grace_ms: number;
  readonly payload: Uint8Array;
  readonly terms: LeaseTerms | null;
}

/**
 * Claims waiting leases: 1 round trip, 1 commit.
 *
 * Rows written for each lease: a row lock and a new version with its entries in the primary key and in the bound index
 * (and the job index). Rows read: as many index entries of the waiting leases as leases are claimed, plus those that
 * other claims hold at this moment. For each session: a share lock on the agent's row, which openSession waits for; a row
 * that openSession holds counts as not current, so that a claim never waits.
 */
export class ClaimLeases {
  readonly #classes: LeaseClasses;
  readonly #ofOneClass: Statement;
  readonly #ofSeveralClasses: Statement;
  readonly #inTurns: Statement;
  readonly #aged: Statement;

  constructor(s: string, classes: LeaseClasses) {
    this.#classes = classes;
    const waiting = (classId: string) => `
        from ${s}.leases l
       where l.class_id = ${classId} and l.agent_id is null and l.due_at is null
         and (l.excluded is null or not $2::text[] <@ l.excluded)
       order by l.rank, l.seq`;
    const columns = 'l.ctid as place, l.rank, l.seq, l.excluded';
    const count = '(select count(*) from places)';
    this.#ofOneClass = statement(
      'claim_one',
      claimSql(
        s,
        `picked as materialized (select ${columns} ${waiting('($1::int[])[1]')} limit ${count} for update skip locked)`,
      ),
    );
    // Looks at the heads of all classes first, so that it locks no more rows than it takes of each.
    const byQuota = (heads: string) => `
      quotas as materialized (select class_id, count(*) as quota from (${heads} limit ${count}) heads group by class_id),
      picked as materialized (
        select l.* from quotas q
         cross join lateral (select ${columns} ${waiting('q.class_id')} limit q.quota for update skip locked) l)`;
    const heads = `cross join lateral (select l.rank, l.seq ${waiting('c.class_id')} limit ${count}) h`;
    this.#ofSeveralClasses = statement(
      'claim_several',
      claimSql(s, byQuota(`select c.class_id from unnest($1::int[]) as c(class_id) ${heads} order by h.rank, h.seq`)),
    );
    this.#inTurns = statement(
      'claim_in_turns',
      claimSql(
        s,
        byQuota(`
          select class_id from (
            select c.class_id, h.rank, h.seq,
                   c.start + sum(c.step) over (partition by c.submitter, h.rank order by h.seq) as tag
              from unnest($1::int[], $5::int[], $6::float8[], $7::float8[]) as c(class_id, submitter, start, step)
              ${heads}) tagged
           order by rank, tag, seq`),
      ),
    );
    // Steps from priority to priority of each class: within one, the oldest lease stands first.
    const waitingAt = (level: string) => `
        from ${s}.leases l
       where l.class_id = ${level}.class_id and l.rank = ${level}.rank and l.agent_id is null and l.due_at is null
         and (l.excluded is null or not $2::text[] <@ l.excluded)
       order by l.seq`;
    const nextLevel = (classId: string, more: string) => `
        cross join lateral (
          select l.rank from ${s}.leases l
           where l.class_id = ${classId} and l.agent_id is null and l.due_at is null ${more}
           order by l.rank limit 1) f`;
    this.#aged = statement(
      'claim_aged',
      claimSql(
        s,
        `levels(class_id, rank) as (
           select c.class_id, f.rank from unnest($1::int[]) as c(class_id) ${nextLevel('c.class_id', '')}
           union all
           select w.class_id, f.rank from levels w ${nextLevel('w.class_id', 'and l.rank > w.rank')}),
         quotas as materialized (
           select class_id, rank, count(*) as quota from (
             select w.class_id, w.rank from levels w
              cross join lateral (select l.seq, l.created_at ${waitingAt('w')} limit ${count}) h
              where h.created_at <= now() - $5::bigint * interval '1 millisecond'
              order by h.seq limit ${count}) heads
            group by class_id, rank),
         picked as materialized (
           select l.* from quotas q
            cross join lateral (select ${columns} ${waitingAt('q')} limit q.quota for update skip locked) l)`,
      ),
    );
  }

  async run(session: Session, request: ClaimRequest): Promise<AssignedAttempt[]> {
    const { source, places } = request;
    if (places.length === 0 || request.classIds.length === 0) return [];
    await this.#classes.load(session, request.classIds);
    // Classes once each, with where they stand in the request.
    const indexOf = new Map(request.classIds.map((id, index) => [id, index]));
    const classIds = [...indexOf.keys()].filter((id) => this.#classes.known(id)?.source === source);
    if (classIds.length === 0) return [];
    const sessions = new DistinctSessions(places);
    const values = [
      plainArray(classIds),
      textArray(sessions.agentIds),
      plainArray(sessions.epochs),
      plainArray(sessions.numbers),
    ];
    const rows = await session.run<ClaimedRow>(...this.#howToClaim(request, classIds, indexOf, values));
    return rows.map((row) => {
      const { typeUrl, requirements, submitter } = this.#classes.of(row.class_id);
      return {
        ...(submitter === '' ? {} : { submitter }),
        leaseId: row.lease_id,
        attempt: row.attempt,
        ...sessions.at(row.session_no),
        payload: create(AnySchema, { typeUrl, value: row.payload }),
        requirements,
        runLimitMs: row.run_limit_ms,
        cancelGraceMs: row.cancel_grace_ms,
        ...row.terms,
      };
    });
  }

  #howToClaim(
    { shares, agedMs }: ClaimRequest,
    classIds: readonly number[],
    indexOf: ReadonlyMap<number, number>,
    values: readonly unknown[],
  ): [Statement, unknown[]] {
    if (agedMs !== undefined) return [this.#aged, [...values, agedMs]];
    if (classIds.length === 1) return [this.#ofOneClass, [...values]];
    if (shares === undefined) return [this.#ofSeveralClasses, [...values]];
    const own = classIds.map((id) => shares[indexOf.get(id) as number] as ClaimShare);
    return [
      this.#inTurns,
      [
        ...values,
        plainArray(own.map(({ submitter }) => submitter)),
        plainArray(own.map(({ start }) => start)),
        plainArray(own.map(({ step }) => step)),
      ],
    ];
  }
}

/**
 * Binds picked leases to places in order. Leases that exclude agents choose first, the first place that suits; two that
 * would choose the same wait for the next claim.
 */
function claimSql(s: string, picked: string): string {
  return `
    with recursive current_sessions as materialized (
      select array_agg(a.ok is not null order by d.no) as flags
        from unnest($2::text[], $3::bigint[]) with ordinality as d(agent_id, epoch, no)
        left join lateral (
          select true as ok from ${s}.agents a
           where a.agent_id = d.agent_id and a.epoch = d.epoch and a.session_id is not null
             for share skip locked) a on true),
    places as materialized (
      select p.session_no, p.n from unnest($4::int[]) with ordinality as p(session_no, n)
       where (select flags from current_sessions)[p.session_no]),
    ${picked},
    choosy as materialized (
      select distinct on (c.n) l.place, c.session_no, c.n
        from picked l
        cross join lateral (
          select p.session_no, p.n from places p
           where not ($2::text[])[p.session_no] = any(l.excluded) order by p.n limit 1) c
       where l.excluded is not null
       order by c.n, l.rank, l.seq),
    assigned as materialized (
      select place, session_no from choosy
      union all
      select place, (array(select p.session_no from places p
                            where not exists (select 1 from choosy c where c.n = p.n) order by p.n))[n]
        from (select place, row_number() over () as n from picked where excluded is null) plain)
    update ${s}.leases l
       set state = 1, attempt = l.attempt + 1, agent_id = ($2::text[])[a.session_no],
           epoch = ($3::bigint[])[a.session_no], assigned_at = now()
      from assigned a where l.ctid = a.place and a.session_no is not null
    returning l.lease_id, l.attempt, a.session_no, l.class_id, l.run_limit_ms, l.cancel_grace_ms, l.payload, l.terms`;
}
