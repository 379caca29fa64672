import type { AssignedAttempt } from '@drover/lease-kit';
import { jobExists, type JobDraft, type SubmittedJob } from '@drover/lease-store';
import {
  assignedFrom,
  insertLeasesSql,
  insertLeasesValues,
  leaseConflict,
  type InsertedLease,
} from './enqueue-leases.ts';
import { statement, type Session, type Statement } from './internal/database.ts';
import { DistinctSessions } from './internal/distinct-sessions.ts';
import { packBytes } from './internal/packed-bytes.ts';
import { plainArray, textArray } from './internal/sql-array.ts';
import { constraintOf } from './internal/postgres-error.ts';
import type { LeaseClasses } from './lease-classes.ts';

interface SubmittedRow extends Omit<InsertedLease, 'lease_id'> {
  /** A bound or a taken lease. */
  readonly lease_id: string | null;
  /** A job that was stored. */
  readonly job_id: string | null;
}

/**
 * Stores jobs with their leases. 1 round trip, 1 commit; one more round trip if a request id had made a job before. Rows
 * written: one for each job with its entries in the primary key, by request and by time, and those of its leases.
 */
export class SubmitJobs {
  readonly #classes: LeaseClasses;
  readonly #waiting: Statement;
  readonly #bound: Statement;
  readonly #repeated: Statement;

  constructor(s: string, classes: LeaseClasses) {
    this.#classes = classes;
    const text = (binds: boolean) => {
      const leases = insertLeasesSql(s, 10, {
        binds,
        jobsFilter: 'where i.job_id = any(array(select job_id from stored))',
      });
      return `
        with ${leases.head},
        stored as (
          insert into ${s}.jobs (job_id, request_id, name, priority, payload_type, payload, submitter)
          select j.job_id, j.request_id, j.name, j.priority, j.payload_type,
                 substring($8::bytea from j.place for j.size), $9
            from unnest($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::text[], $6::int[], $7::int[])
              as j(job_id, request_id, name, priority, payload_type, place, size)
           where not exists (select 1 from taken)
          on conflict (submitter, request_id) where request_id is not null do nothing
          returning job_id),
        ${leases.tail}
        select lease_id, null::uuid as job_id, true as is_taken from taken
        union all select null, job_id, false from stored
        ${binds ? 'union all select lease_id, null, false from inserted where state > 0' : ''}`;
    };
    this.#waiting = statement('submit', text(false));
    this.#bound = statement('submit_bound', text(true));
    this.#repeated = statement(
      'submit_repeated',
      `select job_id, request_id from ${s}.jobs where submitter = $1 and request_id = any($2::text[])`,
    );
  }

  async run(session: Session, jobs: readonly JobDraft[], submitter: string) {
    if (jobs.length === 0) return { jobs: [], assigned: [] };
    const entries = jobs.flatMap((job) => job.leases);
    const classIds = await this.#classes.idsFor(
      session,
      entries.map(({ draft }) => draft),
    );
    const binds = entries.some(({ bindTo }) => bindTo !== undefined);
    const sessions = binds ? new DistinctSessions(entries.map(({ bindTo }) => bindTo)) : undefined;
    const payloads = packBytes(jobs.map(({ payload }) => payload.value));
    const values = [
      plainArray(jobs.map(({ jobId }) => jobId)),
      textArray(jobs.map(({ requestId }) => requestId)),
      textArray(jobs.map(({ name }) => name)),
      plainArray(jobs.map(({ priority }) => priority)),
      textArray(jobs.map(({ payload }) => payload.typeUrl)),
      plainArray(payloads.offsets),
      plainArray(payloads.lengths),
      payloads.bytes,
      submitter,
      ...insertLeasesValues(entries, classIds, sessions),
    ];
    let rows: SubmittedRow[];
    try {
      rows = await session.run<SubmittedRow>(binds ? this.#bound : this.#waiting, values);
    } catch (error) {
      throw jobConflict(error) ?? leaseConflict(error) ?? error;
    }
    const assigned: AssignedAttempt[] = assignedFrom(
      rows.flatMap(({ lease_id, is_taken }) => (lease_id === null ? [] : { lease_id, is_taken })),
      entries,
    );
    const stored = new Set(rows.flatMap((row) => row.job_id ?? []));
    return { jobs: await this.#answers(session, jobs, stored, submitter), assigned };
  }

  async #answers(
    session: Session,
    jobs: readonly JobDraft[],
    stored: ReadonlySet<string>,
    submitter: string,
  ): Promise<SubmittedJob[]> {
    const repeated = jobs.filter(({ jobId }) => !stored.has(jobId));
    const earlier = new Map<string, string>();
    if (repeated.length > 0) {
      const ids = repeated.map(({ requestId }) => requestId ?? '');
      const rows = await session.run<{ job_id: string; request_id: string }>(this.#repeated, [submitter, ids]);
      for (const row of rows) earlier.set(row.request_id, row.job_id);
    }
    return jobs.map(({ jobId, requestId }) =>
      stored.has(jobId) ? { jobId, repeated: false } : { jobId: earlier.get(requestId ?? '') ?? jobId, repeated: true },
    );
  }
}

function jobConflict(error: unknown): Error | undefined {
  if (constraintOf(error) !== 'jobs_pkey') return undefined;
  const detail = (error as { detail?: string }).detail ?? '';
  return jobExists(/\(job_id\)=\(([^)]*)\)/.exec(detail)?.[1] ?? 'of this call');
}
