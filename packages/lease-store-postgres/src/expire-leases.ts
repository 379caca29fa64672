import type { OverdueLeases } from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';
import { outcomeCode } from './internal/outcome-code.ts';
import type { LeaseClasses } from './lease-classes.ts';

interface OverdueRow {
  readonly lease_id: string;
  readonly job_id: string | null;
  readonly class_id: number;
  readonly attempt: number;
  readonly agent_id: string | null;
  readonly epoch: number | null;
}

const code = 'LEASE_TIMED_OUT';
const message = 'The time that this lease had in all is over.';

/**
 * Ends leases whose whole time is over. 1 round trip; it reads the index of the leases that have such a limit, and changes
 * each of them once: one that waits moves to the history, a bound one is to be stopped by its agent.
 */
export class ExpireLeases {
  readonly #classes: LeaseClasses;
  readonly #expire: Statement;

  constructor(s: string, classes: LeaseClasses) {
    this.#classes = classes;
    this.#expire = statement(
      'leases_expire',
      `with due as materialized (
         select l.lease_id from ${s}.leases l where l.expires_at <= now()
          order by l.expires_at limit 1000 for update skip locked),
       ended as (
         delete from ${s}.leases l using due where l.lease_id = due.lease_id and l.agent_id is null
         returning l.lease_id, l.job_id, l.seq, l.created_at, l.class_id, l.attempt, l.rank, l.name, l.excluded),
       kept as (
         insert into ${s}.lease_history (lease_id, job_id, seq, created_at, ended_at, class_id, attempt, rank, outcome,
                cancel_wished, name, excluded, reason_code, reason_message)
         select lease_id, job_id, seq, created_at, now(), class_id, attempt, rank, ${outcomeCode('timed-out')},
                false, name, excluded, '${code}', '${message}' from ended),
       wished as (
         update ${s}.leases l
            set expires_at = null, state = 3, cancel_reason = coalesce(l.cancel_reason, '${message}'),
                cancel_code = case when l.state = 3 then l.cancel_code else '${code}' end
           from due where l.lease_id = due.lease_id and l.agent_id is not null
         returning l.lease_id, l.job_id, l.class_id, l.attempt, l.agent_id, l.epoch)
       select lease_id, job_id, class_id, attempt, null::text as agent_id, null::bigint as epoch from ended
       union all select lease_id, job_id, class_id, attempt, agent_id, epoch from wished`,
    );
  }

  async run(session: Session): Promise<OverdueLeases> {
    const rows = await session.run<OverdueRow>(this.#expire, []);
    await this.#classes.load(
      session,
      rows.map((row) => row.class_id),
    );
    return {
      ended: rows
        .filter((row) => row.agent_id === null)
        .map((row) => ({
          leaseId: row.lease_id,
          source: this.#classes.of(row.class_id).source,
          ...(row.job_id === null ? {} : { jobId: row.job_id }),
        })),
      wished: rows.flatMap(({ lease_id: leaseId, attempt, agent_id: agentId, epoch }) =>
        agentId === null || epoch === null ? [] : [{ leaseId, attempt, agentId, epoch }],
      ),
    };
  }
}
