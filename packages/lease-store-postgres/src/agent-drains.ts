import { storedMessage, type AgentDrain, type RecordedDrain, type SessionRef } from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';
import { plainArray, textArray } from './internal/sql-array.ts';

/** What a row of agents says of a drain. */
export interface DrainColumns {
  readonly drain_source: string | null;
  readonly drain_reason: string | null;
  readonly drain_ms: number | null;
}

/** SQL: the columns of {@link DrainColumns} of an agent `a`; null once the drain has expired. */
export function drainColumnsSql(a: string): string {
  return `${a}.drain_source, ${a}.drain_reason,
    case when ${a}.drained_until > now() then ceil(extract(epoch from ${a}.drained_until - now()) * 1000)::bigint end as drain_ms`;
}

/** The drain that a row tells of, if it lasts. */
export function drainOf(row: DrainColumns): RecordedDrain | undefined {
  const { drain_source: source, drain_reason: reason, drain_ms: remainingMs } = row;
  return source === null || remainingMs === null ? undefined : { source, reason: reason ?? '', remainingMs };
}

/** Records drains and forgets them. 1 round trip, 1 commit, one heap-only update for each. */
export class AgentDrains {
  readonly #record: Statement;
  readonly #release: Statement;

  constructor(s: string) {
    this.#record = statement(
      'drains_record',
      `update ${s}.agents a
          set drain_source = d.source, drain_reason = d.reason,
              drained_until = now() + d.ttl_ms * interval '1 millisecond'
         from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[])
           as d(agent_id, epoch, source, reason, ttl_ms)
        where a.agent_id = d.agent_id and a.epoch = d.epoch and a.session_id is not null`,
    );
    this.#release = statement(
      'drains_release',
      `update ${s}.agents a set drain_source = null, drain_reason = null, drained_until = null
         from unnest($1::text[], $2::bigint[], $3::text[]) as d(agent_id, epoch, source)
        where a.agent_id = d.agent_id and a.epoch = d.epoch and a.drain_source = d.source and a.session_id is not null`,
    );
  }

  async record(session: Session, drains: readonly AgentDrain[]): Promise<void> {
    if (drains.length === 0) return;
    await session.run(this.#record, [
      textArray(drains.map(({ agentId }) => agentId)),
      plainArray(drains.map(({ epoch }) => epoch)),
      textArray(drains.map(({ source }) => source)),
      textArray(drains.map(({ reason }) => storedMessage(reason))),
      plainArray(drains.map(({ ttlMs }) => ttlMs)),
    ]);
  }

  async release(session: Session, drains: readonly (SessionRef & { readonly source: string })[]): Promise<void> {
    if (drains.length === 0) return;
    await session.run(this.#release, [
      textArray(drains.map(({ agentId }) => agentId)),
      plainArray(drains.map(({ epoch }) => epoch)),
      textArray(drains.map(({ source }) => source)),
    ]);
  }
}
