import { payloadTypeOf } from '@drover/lease-kit';
import {
  checkText,
  checkWhole,
  inputInvalid,
  isUuid,
  jobIdAmbiguous,
  jobNotFound,
  leaseNotFound,
  storeLimits,
  type JobRecord,
  type LeaseRecord,
} from '@drover/lease-store';
import { sql, type Kysely } from 'kysely';
import { statement, type Session, type Statement } from './internal/database.ts';
import type { Tables } from './internal/tables.ts';
import { epochMs, type LeaseRecords } from './lease-records.ts';

/** What {@link JobRecords} is made of. */
export interface JobRecordsDeps {
  readonly build: Kysely<Tables>;
  readonly leases: LeaseRecords;
}

/** Reads jobs and leases for people. */
export class JobRecords {
  readonly #deps: JobRecordsDeps;
  readonly #livePage: Statement;
  readonly #place: Statement;

  constructor(s: string, deps: JobRecordsDeps) {
    this.#deps = deps;
    this.#place = statement(
      'lease_place',
      `select rank, seq from ${s}.leases where lease_id = $1
       union all select rank, seq from ${s}.lease_history where lease_id = $1 limit 1`,
    );
    const columns = `l.lease_id, l.job_id, l.seq, l.class_id, l.rank, l.state, l.attempt, l.agent_id, l.excluded, l.name,
      floor(extract(epoch from l.created_at) * 1000)::bigint as created_ms,
      floor(extract(epoch from l.assigned_at) * 1000)::bigint as assigned_ms`;
    // Reads the heads of each waiting class, and all that are bound or delayed: the first are bounded by the page, the
    // second by what a fleet can hold.
    this.#livePage = statement(
      'live_leases',
      `with recursive classes(class_id) as (
         (select l.class_id from ${s}.leases l where l.agent_id is null and l.due_at is null and $4::text is null
           order by l.class_id limit 1)
         union all
         select n.class_id from classes c cross join lateral (
           select l.class_id from ${s}.leases l
            where l.agent_id is null and l.due_at is null and l.class_id > c.class_id
            order by l.class_id limit 1) n)
       select * from (
         select w.* from classes c cross join lateral (
           select ${columns} from ${s}.leases l
            where l.class_id = c.class_id and l.agent_id is null and l.due_at is null and (l.rank, l.seq) > ($1, $2)
            order by l.rank, l.seq limit $3) w
         union all
         select ${columns} from ${s}.leases l
          where l.agent_id is not null and ($4::text is null or l.agent_id = $4) and (l.rank, l.seq) > ($1, $2)
         union all
         select ${columns} from ${s}.leases l
          where l.due_at is not null and l.agent_id is null and $4::text is null and (l.rank, l.seq) > ($1, $2)) l
        order by l.rank, l.seq limit $3`,
    );
  }

  /** A job by id or prefix. */
  async one(session: Session, idOrPrefix: string): Promise<JobRecord> {
    const [low, high] = idRange(idOrPrefix);
    const rows = await session.query(this.#jobs().where('job_id', '>=', low).where('job_id', '<=', high).limit(2));
    if (rows.length > 1) throw jobIdAmbiguous(idOrPrefix);
    if (rows.length === 0) throw jobNotFound(idOrPrefix);
    const [record] = await this.#records(session, rows, true);
    if (!record) throw jobNotFound(idOrPrefix);
    return record;
  }

  /** Jobs, newest first. */
  async page(session: Session, page: { before?: string; limit: number }): Promise<JobRecord[]> {
    checkWhole('limit', page.limit, 1, storeLimits.pageMax);
    let query = this.#jobs().orderBy('created_at', 'desc').orderBy('job_id', 'desc').limit(page.limit);
    if (page.before !== undefined) {
      const [last] = isUuid(page.before)
        ? await session.query(
            this.#deps.build.selectFrom('jobs').select('created_at').where('job_id', '=', page.before),
          )
        : [];
      if (!last) throw jobNotFound(page.before);
      query = query.where(sql<boolean>`(created_at, job_id) < (${last.created_at}::timestamptz, ${page.before}::uuid)`);
    }
    return this.#records(session, await session.query(query), false);
  }

  /** A lease by id. */
  async lease(session: Session, leaseId: string): Promise<LeaseRecord> {
    const [record] = isUuid(leaseId) ? await this.#deps.leases.select(session, { leaseIds: [leaseId] }, true) : [];
    if (!record) throw leaseNotFound(leaseId);
    return record;
  }

  /** Live leases in the order of their assignment. */
  async liveLeases(
    session: Session,
    page: { after?: string; limit: number; agentId?: string },
  ): Promise<LeaseRecord[]> {
    checkWhole('limit', page.limit, 1, storeLimits.pageMax);
    if (page.agentId !== undefined) checkText('agentId', page.agentId, storeLimits.idLengthMax);
    let place = { rank: -32_768, seq: 0 };
    if (page.after !== undefined) {
      const [last] = isUuid(page.after)
        ? await session.run<{ rank: number; seq: number }>(this.#place, [page.after])
        : [];
      if (!last) throw leaseNotFound(page.after);
      place = last;
    }
    type Row = Parameters<LeaseRecords['ofLive']>[1][number];
    const rows = await session.run<Row>(this.#livePage, [place.rank, place.seq, page.limit, page.agentId ?? null]);
    return this.#deps.leases.ofLive(session, rows);
  }

  #jobs() {
    return this.#deps.build
      .selectFrom('jobs')
      .select(['job_id', 'name', 'submitter', 'priority', 'payload_type', 'cancel_reason'])
      .select(epochMs('created_at').as('created_ms'));
  }

  async #records(
    session: Session,
    rows: readonly (Pick<
      Tables['jobs'],
      'job_id' | 'name' | 'submitter' | 'priority' | 'payload_type' | 'cancel_reason'
    > & {
      created_ms: number;
    })[],
    withOutputs: boolean,
  ): Promise<JobRecord[]> {
    const jobIds = rows.map((row) => row.job_id);
    const leases = rows.length === 0 ? [] : await this.#deps.leases.select(session, { jobIds }, withOutputs);
    const byJob = Map.groupBy(leases, (lease) => lease.jobId);
    return rows.map((row) => ({
      jobId: row.job_id,
      name: row.name,
      payloadType: payloadTypeOf({ typeUrl: row.payload_type }),
      submitter: row.submitter,
      priority: row.priority,
      createdAtMs: row.created_ms,
      cancelWished: row.cancel_reason !== null,
      leases: byJob.get(row.job_id) ?? [],
    }));
  }
}

/** The smallest and the largest UUID with a prefix. */
function idRange(prefix: string): [string, string] {
  if (prefix.length < 4) throw inputInvalid('job id', JSON.stringify(prefix), 'at least 4 characters of the id');
  const template = 'xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx';
  const low = prefix + template.slice(prefix.length).replaceAll('x', '0');
  const high = prefix + template.slice(prefix.length).replaceAll('x', 'f');
  if (!isUuid(low) || !isUuid(high)) throw jobNotFound(prefix);
  return [low, high];
}
