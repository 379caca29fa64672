import { payloadTypeOf } from '@drover/lease-kit';
import { storeLimits, type WaitingClass, type WaitingWork } from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';
import type { LeaseClasses } from './lease-classes.ts';

interface ClassRow {
  readonly class_id: number;
  /** The priority with its sign turned: lowest first. */
  readonly rank: number;
  readonly last_rank: number;
  readonly age_ms: number;
}

/** Pairs of class and priority that one answer looks at, in the order of classes. */
const levelsMax = 16_384;
const quarter = storeLimits.waitingClassesMax / 4;

/**
 * Which classes wait, and when a delayed lease falls due. 1 round trip each. `classes` steps over the waiting index from
 * one priority of a class to the next, however many leases each has, and reads the oldest lease of each; it also lets up to 1,000 delayed leases that have fallen due join the
 * waiting ones (one new version and index entry each, once), and commits only if there were any.
 */
export class WaitingClasses {
  readonly #classes: LeaseClasses;
  readonly #waiting: Statement;
  readonly #work: Statement;
  readonly #nextDue: Statement;

  constructor(s: string, classes: LeaseClasses) {
    this.#classes = classes;
    const waiting = `${s}.leases l where l.agent_id is null and l.due_at is null`;
    this.#waiting = statement(
      'waiting_classes',
      `with recursive due as materialized (
         select l.ctid as place from ${s}.leases l
          where l.due_at <= now() order by l.due_at limit 1000 for update skip locked),
       promoted as (
         update ${s}.leases l set due_at = null from due where l.ctid = due.place
         returning l.class_id, l.rank, l.created_at),
       heads(class_id, rank, created_at, n) as (
         (select l.class_id, l.rank, l.created_at, 1 from ${waiting} order by l.class_id, l.rank, l.seq limit 1)
         union all
         select h.class_id, h.rank, h.created_at, w.n + 1 from heads w cross join lateral (
           select l.class_id, l.rank, l.created_at from ${waiting} and (l.class_id, l.rank) > (w.class_id, w.rank)
            order by l.class_id, l.rank, l.seq limit 1) h
          where w.n < ${levelsMax}),
       classes as (
         select w.class_id, min(w.rank) as rank, max(w.rank) as last_rank, min(w.created_at) as created_at
           from (select class_id, rank, created_at from heads
                 union all select class_id, rank, created_at from promoted) w
           join ${s}.lease_classes c on c.class_id = w.class_id and c.source = $1
          group by w.class_id)
       select class_id, rank, last_rank,
              greatest(0, extract(epoch from now() - created_at) * 1000)::float8 as age_ms
         from (select *, row_number() over (order by rank, class_id) as urgency,
                      row_number() over (order by created_at) as seniority from classes) c
        order by urgency <= ${quarter * 3} desc, case when urgency > ${quarter * 3} then seniority end, urgency
        limit ${storeLimits.waitingClassesMax}`,
    );
    this.#work = statement(
      'waiting_work',
      `with recursive heads(class_id) as (
         (select min(l.class_id) from ${waiting})
         union all
         select (select min(l.class_id) from ${waiting} and l.class_id > h.class_id) from heads h where h.class_id is not null),
       due as (
         select n.class_id, n.leases, n.oldest from heads h cross join lateral (
           select l.class_id, count(*) as leases, min(l.created_at) as oldest
             from (select l.class_id, l.created_at from ${waiting} and l.class_id = h.class_id
                    limit ${storeLimits.waitingCountMax}) l group by l.class_id) n
          where h.class_id is not null),
       later as (
         select l.class_id, count(*) as leases, min(l.created_at) as oldest
           from (select l.class_id, l.created_at from ${s}.leases l where l.due_at is not null order by l.due_at
                  limit ${storeLimits.waitingCountMax}) l group by l.class_id)
       select class_id, sum(leases)::bigint as leases,
              floor(extract(epoch from min(oldest)) * 1000)::bigint as oldest_ms
         from (select * from due union all select * from later) w group by class_id
        order by 3 limit ${storeLimits.waitingClassesMax}`,
    );
    this.#nextDue = statement(
      'next_due',
      `select greatest(0, ceil(extract(epoch from l.due_at - now()) * 1000))::bigint as due_ms
         from ${s}.leases l join ${s}.lease_classes c on c.class_id = l.class_id and c.source = $1
        where l.due_at is not null order by l.due_at limit 1`,
    );
  }

  async classes(session: Session, source: string): Promise<WaitingClass[]> {
    const rows = await session.run<ClassRow>(this.#waiting, [source]);
    rows.sort((a, b) => a.rank - b.rank || a.class_id - b.class_id);
    await this.#classes.load(
      session,
      rows.map((row) => row.class_id),
    );
    return rows.map((row) => {
      const { classId, requirements, typeUrl, submitter } = this.#classes.of(row.class_id);
      return {
        classId,
        requirements,
        payloadType: payloadTypeOf({ typeUrl }),
        submitter,
        priorityMax: 0 - row.rank,
        priorityMin: 0 - row.last_rank,
        ageMsMax: row.age_ms,
      };
    });
  }

  /** 1 round trip; steps over the index from class to class, and counts within each up to a bound. */
  async work(session: Session): Promise<WaitingWork[]> {
    const rows = await session.run<{ class_id: number; leases: number; oldest_ms: number }>(this.#work, []);
    await this.#classes.load(
      session,
      rows.map((row) => row.class_id),
    );
    return rows.map((row) => {
      const { classId, source, requirements, typeUrl } = this.#classes.of(row.class_id);
      const leases = Math.min(storeLimits.waitingCountMax, row.leases);
      return {
        classId,
        source,
        requirements,
        payloadType: payloadTypeOf({ typeUrl }),
        leases,
        oldestAtMs: row.oldest_ms,
      };
    });
  }

  async nextDueMs(session: Session, source: string): Promise<number | undefined> {
    const [row] = await session.run<{ due_ms: number }>(this.#nextDue, [source]);
    return row?.due_ms;
  }
}
