import { jobNotFound, type WishedAttempt } from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';
import { outcomeCode } from './internal/outcome-code.ts';

/**
 * Records that a job is no longer wanted. Three statements of one transaction: the job's leases are locked first and
 * changed by a later statement, so that a lease which goes back to the queue at this moment is not missed.
 */
export class CancelJob {
  readonly #job: Statement;
  readonly #lock: Statement;
  readonly #cancel: Statement;

  constructor(s: string) {
    this.#job = statement(
      'cancel_job',
      `update ${s}.jobs set cancel_reason = coalesce(cancel_reason, $2) where job_id = $1 returning job_id`,
    );
    this.#lock = statement(
      'cancel_lock',
      `select count(*) from (select 1 from ${s}.leases where job_id = $1 order by lease_id for update) l`,
    );
    this.#cancel = statement(
      'cancel_leases',
      `with ended as (
         delete from ${s}.leases l where l.job_id = $1 and l.agent_id is null
         returning l.lease_id, l.job_id, l.seq, l.created_at, l.class_id, l.attempt, l.rank, l.name, l.excluded),
       kept as (
         insert into ${s}.lease_history (lease_id, job_id, seq, created_at, ended_at, class_id, attempt, rank, outcome,
                cancel_wished, name, excluded, reason_code, reason_message)
         select lease_id, job_id, seq, created_at, now(), class_id, attempt, rank, ${outcomeCode('cancelled')},
                true, name, excluded, 'CANCELLED', $2 from ended)
       update ${s}.leases l set state = 3, cancel_reason = coalesce(l.cancel_reason, $2)
        where l.job_id = $1 and l.agent_id is not null
       returning l.lease_id, l.attempt, l.agent_id, l.epoch`,
    );
  }

  /** In a transaction. Throws `JOB_NOT_FOUND`. */
  async run(session: Session, jobId: string, reason: string): Promise<WishedAttempt[]> {
    const jobs = await session.run(this.#job, [jobId, reason]);
    if (jobs.length === 0) throw jobNotFound(jobId);
    await session.run(this.#lock, [jobId]);
    const rows = await session.run<{ lease_id: string; attempt: number; agent_id: string; epoch: number }>(
      this.#cancel,
      [jobId, reason],
    );
    return rows.map((row) => ({
      leaseId: row.lease_id,
      attempt: row.attempt,
      agentId: row.agent_id,
      epoch: row.epoch,
    }));
  }
}
