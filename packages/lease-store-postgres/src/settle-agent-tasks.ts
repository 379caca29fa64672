import { passingRefusalCodes } from '@drover/lease-kit';
import {
  agentTaskDecision,
  storeLimits,
  type AgentTaskEnd,
  type AgentTaskRetry,
  type AgentTaskStore,
  type SettledAgentTask,
} from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';
import { outcomeCode, outcomeFromCode } from './internal/outcome-code.ts';
import { plainArray, textArray } from './internal/sql-array.ts';

interface EndedRow {
  readonly agent_id: string;
  readonly lease_id: string;
  readonly is_replaced: boolean;
  readonly wanted: boolean;
  readonly failures: number;
  readonly is_waiting: boolean;
  readonly outcome: number | null;
  readonly succeeded: boolean | null;
  readonly reason_code: string | null;
  readonly reason_message: string | null;
  readonly ended_ms: number | null;
  readonly now_ms: number;
  readonly not_before_ms: number | null;
}

/** Settles tasks whose lease is bound no more, and ends tasks that can never be done. */
export class SettleAgentTasks {
  readonly #ended: Statement;
  readonly #retire: Statement;
  readonly #settle: Statement;
  readonly #drop: Statement;

  constructor(s: string) {
    const ms = (column: string) => `floor(extract(epoch from ${column}) * 1000)::bigint`;
    // A lease that was given back waits in the table of live ones, its last attempt stands in the history of attempts; one
    // that ended stands in the history of leases.
    this.#ended = statement(
      'agent_tasks_ended',
      `select t.agent_id, t.lease_id, t.lease_revision <> t.revision as is_replaced, t.wanted, t.failures,
              w.lease_id is not null as is_waiting, coalesce(h.outcome, a.outcome) as outcome, h.succeeded,
              coalesce(h.reason_code, a.reason_code) as reason_code,
              coalesce(h.reason_message, a.reason_message) as reason_message,
              ${ms('coalesce(h.ended_at, a.ended_at)')} as ended_ms, ${ms('now()')} as now_ms,
              case when t.not_before > now() then ${ms('t.not_before')} end as not_before_ms
         from (select * from ${s}.agent_tasks t
                where t.source = $1 and t.lease_id is not null and not exists (
                  select from ${s}.leases l where l.lease_id = t.lease_id and l.agent_id is not null)
                order by t.agent_id limit $2 for update skip locked) t
         left join lateral (select l.lease_id from ${s}.leases l where l.lease_id = t.lease_id offset 0) w on true
         left join lateral (
           select * from ${s}.lease_history h where h.lease_id = t.lease_id limit 1) h on true
         left join lateral (
           select * from ${s}.attempt_history a where a.lease_id = t.lease_id order by a.attempt desc limit 1) a on true`,
    );
    this.#retire = statement(
      'agent_tasks_retire',
      `with ended as (
         delete from ${s}.leases l where l.lease_id = any($1::uuid[]) and l.agent_id is null
         returning l.lease_id, l.job_id, l.seq, l.created_at, l.class_id, l.attempt, l.rank, l.name, l.excluded)
       insert into ${s}.lease_history (lease_id, job_id, seq, created_at, ended_at, class_id, attempt, rank, outcome,
              cancel_wished, name, excluded, reason_code, reason_message)
       select lease_id, job_id, seq, created_at, now(), class_id, attempt, rank, ${outcomeCode('cancelled')},
              true, name, excluded, 'TASK_TAKEN_BACK', 'It is for one agent alone, which did not take it.' from ended`,
    );
    this.#settle = statement(
      'agent_tasks_settle',
      `update ${s}.agent_tasks t
          set lease_id = null, lease_revision = null, wanted = r.wanted, failures = r.failures,
              not_before = case when r.delay_ms > 0 then now() + r.delay_ms * interval '1 millisecond' else t.not_before end,
              last_lease_id = t.lease_id, last_outcome = r.outcome, last_succeeded = r.succeeded,
              last_code = r.code, last_message = r.message, last_at = to_timestamp(r.at_ms / 1000.0)
         from unnest($2::text[], $3::boolean[], $4::int[], $5::bigint[], $6::smallint[], $7::boolean[], $8::text[],
                     $9::text[], $10::bigint[])
           as r(agent_id, wanted, failures, delay_ms, outcome, succeeded, code, message, at_ms)
        where t.source = $1 and t.agent_id = r.agent_id`,
    );
    this.#drop = statement(
      'agent_tasks_drop',
      `update ${s}.agent_tasks t
          set wanted = false, draining_until = null, last_lease_id = null, last_outcome = ${outcomeCode('refused')},
              last_succeeded = false, last_code = d.code, last_message = d.message, last_at = now()
         from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
           as d(source, agent_id, revision, code, message)
        where t.source = d.source and t.agent_id = d.agent_id and t.revision = d.revision and t.wanted
          and t.lease_id is null`,
    );
  }

  /** In a transaction. 1 round trip if nothing has ended, else 3. */
  async settle(session: Session, source: string, retry: AgentTaskRetry): Promise<SettledAgentTask[]> {
    const rows = await session.run<EndedRow>(this.#ended, [source, storeLimits.agentTasksPerCallMax]);
    if (rows.length === 0) return [];
    const waiting = rows.filter((row) => row.is_waiting).map((row) => row.lease_id);
    if (waiting.length > 0) await session.run(this.#retire, [plainArray(waiting)]);
    const settled = rows.map((row) => ({ row, end: endOf(row), ...decisionOf(row, retry) }));
    await session.run(this.#settle, [
      source,
      textArray(settled.map(({ row }) => row.agent_id)),
      plainArray(settled.map(({ wantedAgain }) => wantedAgain)),
      plainArray(settled.map(({ failures }) => failures)),
      plainArray(settled.map(({ delayMs }) => delayMs)),
      plainArray(settled.map(({ end }) => outcomeCode(end.outcome))),
      plainArray(settled.map(({ end }) => end.succeeded)),
      textArray(settled.map(({ end }) => end.reason?.code)),
      textArray(settled.map(({ end }) => end.reason?.message)),
      plainArray(settled.map(({ end }) => end.atMs)),
    ]);
    return settled.map(({ row, end, wantedAgain, failures, delayMs }): SettledAgentTask => {
      const ownDelayMs = row.not_before_ms === null ? 0 : row.not_before_ms - row.now_ms;
      const dueMs = wantedAgain ? (delayMs > 0 ? delayMs : ownDelayMs) : 0;
      return { source, agentId: row.agent_id, leaseId: row.lease_id, end, failures, wantedAgain, dueMs };
    });
  }

  /** 1 round trip. */
  async drop(session: Session, entries: Parameters<AgentTaskStore['drop']>[0]): Promise<void> {
    if (entries.length === 0) return;
    await session.run(this.#drop, [
      textArray(entries.map((entry) => entry.source)),
      textArray(entries.map((entry) => entry.agentId)),
      plainArray(entries.map((entry) => entry.revision)),
      textArray(entries.map((entry) => entry.reason.code)),
      textArray(entries.map((entry) => entry.reason.message)),
    ]);
  }
}

/** What the lease came to. One that nobody remembers any more counts as lost. */
function endOf(row: EndedRow): AgentTaskEnd {
  const outcome = row.outcome === null ? 'lost' : outcomeFromCode(row.outcome);
  return {
    leaseId: row.lease_id,
    outcome,
    succeeded: outcome === 'completed' && row.succeeded !== false,
    ...(row.reason_code === null ? {} : { reason: { code: row.reason_code, message: row.reason_message ?? '' } }),
    atMs: row.ended_ms ?? row.now_ms,
  };
}

function decisionOf(row: EndedRow, retry: AgentTaskRetry): ReturnType<typeof agentTaskDecision> {
  const { outcome, succeeded, reason } = endOf(row);
  const isPassingRefusal = outcome === 'refused' && passingRefusalCodes.includes(reason?.code ?? '');
  const task = { wanted: row.wanted, failures: row.failures, replaced: row.is_replaced };
  return agentTaskDecision(task, { succeeded, isPassingRefusal }, retry);
}
