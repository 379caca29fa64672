import {
  agentTaskExpiryMs,
  type AgentTaskKey,
  type AgentTaskWish,
  type WantedAgentTask,
  type WithdrawnAgentTask,
} from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';
import { packBytes } from './internal/packed-bytes.ts';
import { plainArray, textArray } from './internal/sql-array.ts';

interface WantedRow {
  readonly no: number;
  readonly was_wanted: boolean | null;
  readonly is_same: boolean | null;
}

interface WithdrawnRow {
  readonly no: number;
  readonly was_wanted: boolean;
  readonly lease_id: string | null;
  readonly attempt: number | null;
  readonly agent_id: string | null;
  readonly epoch: number | null;
}

/**
 * Records what is wanted of agents, and that it is not any more. Rows are taken in the order of their keys, so that calls
 * which meet do not deadlock.
 */
export class WantAgentTasks {
  readonly #lock: Statement;
  readonly #want: Statement;
  readonly #withdraw: Statement;

  constructor(s: string) {
    this.#lock = statement(
      'agent_tasks_lock',
      `select count(*) from (
         select from ${s}.agent_tasks t join unnest($1::text[], $2::text[]) as k(source, agent_id)
             on t.source = k.source and t.agent_id = k.agent_id
          order by t.source, t.agent_id for update of t) l`,
    );
    const isWanted = `t.wanted and (t.lease_id is not null or t.expires_at > now())`;
    // Of what is being done, only the payload counts.
    const isSame = `t.payload_type = i.payload_type and t.payload = i.payload
      and (t.lease_revision is not distinct from t.revision
        or (t.forced = i.forced and t.group_name is not distinct from i.group_name
            and t.group_max is not distinct from i.group_max))`;
    const after = (ms: string) => `now() + ${ms} * interval '1 millisecond'`;
    const notBefore = `case when i.delay_ms > 0 then ${after('i.delay_ms')} end`;
    this.#want = statement(
      'agent_tasks_want',
      `with i as materialized (
         select k.no, k.source, k.agent_id, k.forced, k.group_name, k.group_max, k.delay_ms, k.expires_ms, k.ends_back_off,
                k.payload_type, substring($9::bytea from k.place for k.size) as payload
           from unnest($1::text[], $2::text[], $3::boolean[], $4::text[], $5::int[], $6::bigint[], $7::bigint[],
                       $8::boolean[], $10::text[], $11::int[], $12::int[]) with ordinality
             as k(source, agent_id, forced, group_name, group_max, delay_ms, expires_ms, ends_back_off, payload_type, place,
                  size, no)),
       known as materialized (
         select i.*, ${isWanted} as was_wanted, (${isWanted}) and ${isSame} as is_same
           from i
           cross join lateral (select from ${s}.agents a where a.agent_id = i.agent_id offset 0) a
           left join lateral (
             select * from ${s}.agent_tasks t where t.source = i.source and t.agent_id = i.agent_id offset 0) t on true),
       renewed as (
         update ${s}.agent_tasks t
            set failures = 0, requested_by = $13, requested_at = now(), not_before = ${notBefore},
                expires_at = ${after('i.expires_ms')}
           from known i
          where i.is_same and i.ends_back_off and t.source = i.source and t.agent_id = i.agent_id and t.lease_id is null),
       written as (
         insert into ${s}.agent_tasks as t (source, agent_id, revision, wanted, forced, requested_at, not_before, expires_at,
                                            group_max, group_name, requested_by, payload_type, payload)
         select i.source, i.agent_id, nextval('${s}.agent_task_seq'), true, i.forced, now(), ${notBefore},
                ${after('i.expires_ms')}, i.group_max, i.group_name, $13, i.payload_type, i.payload
           from known i where i.is_same is not true order by i.source, i.agent_id
         on conflict (source, agent_id) do update
            set revision = excluded.revision, wanted = true, forced = excluded.forced, requested_at = now(),
                not_before = excluded.not_before, expires_at = excluded.expires_at, draining_until = null, failures = 0,
                group_max = excluded.group_max, group_name = excluded.group_name, requested_by = excluded.requested_by,
                payload_type = excluded.payload_type, payload = excluded.payload)
       select no, was_wanted, is_same from known`,
    );
    this.#withdraw = statement(
      'agent_tasks_withdraw',
      `with t as materialized (
         select k.no, t.source, t.agent_id, t.wanted, t.lease_id
           from unnest($1::text[], $2::text[]) with ordinality as k(source, agent_id, no)
           cross join lateral (
             select * from ${s}.agent_tasks t where t.source = k.source and t.agent_id = k.agent_id offset 0) t),
       withdrawn as (
         update ${s}.agent_tasks a
            set wanted = false, draining_until = null, revision = nextval('${s}.agent_task_seq')
           from t where a.source = t.source and a.agent_id = t.agent_id and (t.wanted or t.lease_id is not null)),
       cancelled as (
         update ${s}.leases l set state = 3, cancel_reason = coalesce(l.cancel_reason, $3)
           from t where l.lease_id = t.lease_id and l.agent_id is not null
         returning l.lease_id, l.attempt, l.agent_id, l.epoch)
       select t.no, t.wanted as was_wanted, c.lease_id, c.attempt, c.agent_id, c.epoch
         from t left join cancelled c on c.lease_id = t.lease_id`,
    );
  }

  /** In a transaction. 2 round trips. */
  async want(session: Session, wishes: readonly AgentTaskWish[], requestedBy: string): Promise<WantedAgentTask[]> {
    if (wishes.length === 0) return [];
    await this.#lockRows(session, wishes);
    const payloads = packBytes(wishes.map(({ payload }) => payload.value));
    const rows = await session.run<WantedRow>(this.#want, [
      textArray(wishes.map(({ source }) => source)),
      textArray(wishes.map(({ agentId }) => agentId)),
      plainArray(wishes.map(({ forced }) => forced ?? false)),
      textArray(wishes.map(({ group }) => group?.name)),
      plainArray(wishes.map(({ group }) => group?.max)),
      plainArray(wishes.map(({ delayMs }) => delayMs ?? 0)),
      plainArray(wishes.map(({ expiresAfterMs }) => expiresAfterMs ?? agentTaskExpiryMs)),
      plainArray(wishes.map(({ endsBackOff }) => endsBackOff ?? false)),
      payloads.bytes,
      textArray(wishes.map(({ payload }) => payload.typeUrl)),
      plainArray(payloads.offsets),
      plainArray(payloads.lengths),
      requestedBy,
    ]);
    const byNo = new Map(rows.map((row) => [row.no, row]));
    return wishes.map(({ source, agentId }, index): WantedAgentTask => {
      const row = byNo.get(index + 1);
      if (!row) return { source, agentId, result: 'unknown-agent' };
      if (row.is_same === true) return { source, agentId, result: 'unchanged' };
      return { source, agentId, result: row.was_wanted === true ? 'replaced' : 'wanted' };
    });
  }

  /** In a transaction. 2 round trips. */
  async withdraw(session: Session, keys: readonly AgentTaskKey[], reason: string): Promise<WithdrawnAgentTask[]> {
    if (keys.length === 0) return [];
    await this.#lockRows(session, keys);
    const rows = await session.run<WithdrawnRow>(this.#withdraw, [...keyArrays(keys), reason]);
    const byNo = new Map(rows.map((row) => [row.no, row]));
    return keys.map(({ source, agentId }, index): WithdrawnAgentTask => {
      const row = byNo.get(index + 1);
      if (!row) return { source, agentId, result: 'not-wanted' };
      const { lease_id: leaseId, attempt, agent_id: boundTo, epoch } = row;
      if (leaseId !== null && attempt !== null && boundTo !== null && epoch !== null) {
        return { source, agentId, result: 'cancelling', attempt: { leaseId, attempt, agentId: boundTo, epoch } };
      }
      return { source, agentId, result: row.was_wanted ? 'withdrawn' : 'not-wanted' };
    });
  }

  async #lockRows(session: Session, keys: readonly AgentTaskKey[]): Promise<void> {
    await session.run(this.#lock, keyArrays(keys));
  }
}

function keyArrays(keys: readonly AgentTaskKey[]): [string, string] {
  return [textArray(keys.map(({ source }) => source)), textArray(keys.map(({ agentId }) => agentId))];
}
