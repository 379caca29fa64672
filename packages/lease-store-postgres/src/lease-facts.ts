import type { BadEnd, KindSuccesses, LeaseFacts } from '@drover/agent-health';
import { checkWhole, storeLimits } from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';
import { outcomeCode, outcomeFromCode } from './internal/outcome-code.ts';
import { plainArray } from './internal/sql-array.ts';

interface EndRow {
  readonly now_ms: number;
  /** Null in the row that only says what time it is. */
  readonly lease_id: string | null;
  readonly attempt: number;
  readonly agent_id: string;
  readonly ended_ms: number;
  readonly outcome: number;
  readonly code: string;
  readonly job_id: string;
  readonly class_id: number;
  readonly name: string;
  readonly succeeded_on: string | null;
}

interface SuccessRow {
  readonly job_id: string;
  readonly class_id: number;
  readonly agent_id: string;
  readonly leases: number;
}

const succeeded = `h.outcome = ${outcomeCode('completed')} and h.succeeded is not false`;

/**
 * What the history says of how leases ended. 1 round trip while nothing ended badly, else 2. The first reads the indexes of bad
 * ends and, for each, its lease; the second the leases of their jobs.
 */
export class LeaseFactsReader {
  readonly #ends: Statement;
  readonly #successes: Statement;

  constructor(s: string) {
    const since = `now() - $1 * interval '1 millisecond'`;
    const columns = 'lease_id, attempt, agent_id, ended_at, outcome, reason_code';
    this.#ends = statement(
      'health_ends',
      `with bad as materialized (
         (select ${columns} from ${s}.attempt_history where ended_at > ${since} and outcome <> ${outcomeCode('refused')}
           order by ended_at desc limit ${storeLimits.healthEndsMax})
         union all
         (select ${columns} from ${s}.lease_history
           where ended_at > ${since} and job_id is not null and agent_id is not null
             and (outcome in (2, 3, 5) or (outcome = 1 and succeeded is false))
           order by ended_at desc limit ${storeLimits.healthEndsMax}))
       select floor(extract(epoch from now()) * 1000)::bigint as now_ms, b.lease_id, b.attempt, b.agent_id,
              floor(extract(epoch from b.ended_at) * 1000)::bigint as ended_ms, b.outcome,
              coalesce(b.reason_code, '') as code, b.job_id, b.class_id, b.name, b.succeeded_on
         from (select) one
         left join lateral (
           select b.*, coalesce(h.job_id, l.job_id) as job_id, coalesce(h.class_id, l.class_id) as class_id,
                  coalesce(h.name, l.name) as name, case when ${succeeded} then h.agent_id end as succeeded_on
             from bad b
             left join lateral (
               select h.job_id, h.class_id, h.name, h.outcome, h.succeeded, h.agent_id from ${s}.lease_history h
                where h.lease_id = b.lease_id and h.ended_at > ${since} limit 1) h on true
             left join ${s}.leases l on l.lease_id = b.lease_id
            where coalesce(h.job_id, l.job_id) is not null
            order by b.ended_at desc limit ${storeLimits.healthEndsMax}) b on true`,
    );
    this.#successes = statement(
      'health_successes',
      `select j.job_id, h.class_id, h.agent_id, count(*) as leases
         from unnest($2::uuid[]) as j(job_id)
        cross join lateral (
          select h.class_id, h.agent_id from ${s}.lease_history h
           where h.job_id = j.job_id and h.ended_at > ${since} and h.agent_id is not null and ${succeeded}
           limit ${storeLimits.healthSuccessesMax}) h
        group by j.job_id, h.class_id, h.agent_id`,
    );
  }

  async read(session: Session, windowMs: number): Promise<LeaseFacts> {
    checkWhole('windowMs', windowMs, 1, Number.MAX_SAFE_INTEGER);
    const rows = await session.run<EndRow>(this.#ends, [windowMs]);
    const nowMs = rows[0]!.now_ms;
    const jobs = new Set<string>();
    const ends: BadEnd[] = [];
    for (const row of rows) {
      if (row.lease_id === null) continue;
      if (!jobs.has(row.job_id) && jobs.size === storeLimits.healthJobsMax) continue;
      jobs.add(row.job_id);
      ends.push({
        agentId: row.agent_id,
        leaseId: row.lease_id,
        attempt: row.attempt,
        kind: `${row.job_id}/${row.class_id}`,
        name: row.name,
        endedAtMs: row.ended_ms,
        outcome: outcomeFromCode(row.outcome) as BadEnd['outcome'],
        code: row.code,
        ...(row.succeeded_on === null ? {} : { succeededOn: row.succeeded_on }),
      });
    }
    if (jobs.size === 0) return { nowMs, ends: [], successes: [] };
    const found = await session.run<SuccessRow>(this.#successes, [windowMs, plainArray([...jobs])]);
    const successes = found.map(({ job_id, class_id, agent_id: agentId, leases }): KindSuccesses => {
      return { kind: `${job_id}/${class_id}`, agentId, leases };
    });
    return { nowMs, ends, successes };
  }
}
