import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import {
  checkText,
  checkWhole,
  storeLimits,
  type AgentTaskRecord,
  type AgentTaskStore,
  type OpenAgentTask,
} from '@drover/lease-store';
import { sql, type Kysely } from 'kysely';
import { statement, type Session, type Statement } from './internal/database.ts';
import { outcomeFromCode } from './internal/outcome-code.ts';
import type { Tables } from './internal/tables.ts';
import { epochMs } from './lease-records.ts';

interface OpenRow {
  readonly agent_id: string;
  readonly revision: number;
  readonly forced: boolean;
  readonly requested_by: string;
  readonly failures: number;
  readonly due_ms: number;
  readonly is_draining: boolean;
  readonly payload_type: string;
  readonly payload: Uint8Array;
}

type ListPage = Parameters<AgentTaskStore['list']>[0];

/** Reads agent tasks. 1 round trip each. */
export class AgentTaskRecords {
  readonly #build: Kysely<Tables>;
  readonly #open: Statement;

  constructor(s: string, build: Kysely<Tables>) {
    this.#build = build;
    // Reads the index of what waits, and nothing while nothing does.
    this.#open = statement(
      'agent_tasks_open',
      `select t.agent_id, t.revision, t.forced, t.requested_by, t.failures, t.payload_type, t.payload,
              greatest(0, coalesce(ceil(extract(epoch from t.not_before - now()) * 1000), 0))::bigint as due_ms,
              coalesce(t.draining_until > now(), false) as is_draining
         from ${s}.agent_tasks t
        where t.source = $1 and t.wanted and t.lease_id is null and t.expires_at > now()
        order by t.revision limit $2`,
    );
  }

  async open(session: Session, source: string): Promise<OpenAgentTask[]> {
    const rows = await session.run<OpenRow>(this.#open, [source, storeLimits.openAgentTasksMax]);
    return rows.map((row) => ({
      source,
      agentId: row.agent_id,
      revision: row.revision,
      payload: create(AnySchema, { typeUrl: row.payload_type, value: row.payload }),
      forced: row.forced,
      requestedBy: row.requested_by,
      failures: row.failures,
      dueMs: row.due_ms,
      draining: row.is_draining,
    }));
  }

  async list(session: Session, page: ListPage): Promise<AgentTaskRecord[]> {
    checkWhole('limit', page.limit, 1, storeLimits.pageMax);
    for (const [where, text] of Object.entries({
      source: page.source,
      agentId: page.agentId,
      'after.source': page.after?.source,
      'after.agentId': page.after?.agentId,
    })) {
      if (text !== undefined) checkText(where, text, storeLimits.idLengthMax);
    }
    const isExpired = sql<boolean>`expires_at <= now()`;
    let query = this.#build
      .selectFrom('agent_tasks')
      .select(['source', 'agent_id', 'revision', 'wanted', 'forced', 'failures', 'group_name', 'group_max', 'lease_id'])
      .select(['requested_by', 'payload_type', 'payload', 'last_lease_id', 'last_outcome', 'last_succeeded'])
      .select(['last_code', 'last_message'])
      .select((from) => {
        const lease = from
          .selectFrom('lease_history')
          .whereRef('lease_history.lease_id', '=', 'agent_tasks.last_lease_id')
          .where(sql<boolean>`${page.withOutputs === true}::boolean`)
          .limit(1);
        return [lease.select('output_type').as('output_type'), lease.select('output').as('output')];
      })
      .select([epochMs('requested_at').as('requested_ms'), epochMs('expires_at').as('expires_ms')])
      .select(epochMs<number | null>('last_at').as('last_ms'))
      .select(sql<number | null>`case when not_before > now() then ${epochMs('not_before')} end`.as('not_before_ms'))
      .select([isExpired.as('is_expired'), sql<boolean>`coalesce(draining_until > now(), false)`.as('is_draining')])
      .orderBy('source')
      .orderBy('agent_id')
      .limit(page.limit);
    const { after, source, agentId } = page;
    if (after) query = query.where(sql<boolean>`(source, agent_id) > (${after.source}, ${after.agentId})`);
    if (source !== undefined) query = query.where('source', '=', source);
    if (agentId !== undefined) query = query.where('agent_id', '=', agentId);
    if (page.onlyLive === true) {
      query = query.where(sql<boolean>`(lease_id is not null or wanted and expires_at > now())`);
    }
    const rows = await session.query(query);
    return rows.map((row): AgentTaskRecord => ({
      source: row.source,
      agentId: row.agent_id,
      revision: row.revision,
      state: stateOf(row),
      payload: create(AnySchema, { typeUrl: row.payload_type, value: row.payload }),
      forced: row.forced,
      ...(row.group_name === null || row.group_max === null
        ? {}
        : { group: { name: row.group_name, max: row.group_max } }),
      requestedBy: row.requested_by,
      requestedAtMs: row.requested_ms,
      ...(row.not_before_ms === null ? {} : { notBeforeMs: row.not_before_ms }),
      expiresAtMs: row.expires_ms,
      failures: row.failures,
      ...(row.lease_id === null ? {} : { leaseId: row.lease_id }),
      ...(row.last_outcome === null || row.last_ms === null
        ? {}
        : {
            last: {
              ...(row.last_lease_id === null ? {} : { leaseId: row.last_lease_id }),
              outcome: outcomeFromCode(row.last_outcome),
              succeeded: row.last_succeeded === true,
              ...(row.last_code === null ? {} : { reason: { code: row.last_code, message: row.last_message ?? '' } }),
              atMs: row.last_ms,
              ...(row.output_type === null || row.output === null
                ? {}
                : { output: create(AnySchema, { typeUrl: row.output_type, value: row.output }) }),
            },
          }),
    }));
  }
}

function stateOf(row: {
  readonly lease_id: string | null;
  readonly wanted: boolean;
  readonly is_expired: boolean;
  readonly is_draining: boolean;
}): AgentTaskRecord['state'] {
  if (row.lease_id !== null) return row.wanted ? 'carried' : 'withdrawing';
  if (!row.wanted) return 'ended';
  if (row.is_expired) return 'expired';
  return row.is_draining ? 'draining' : 'waiting';
}
