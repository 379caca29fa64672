import { fromBinary } from '@bufbuild/protobuf';
import { AgentDescriptionSchema } from '@drover/lease-protocol';
import { agentsNotFound, checkText, checkWhole, storeLimits, type AgentRecord } from '@drover/lease-store';
import { sql, type Kysely } from 'kysely';
import { drainOf, type DrainColumns } from './agent-drains.ts';
import { conditions } from './agent-sessions.ts';
import type { Session } from './internal/database.ts';
import type { Tables } from './internal/tables.ts';
import type { LeaseClasses } from './lease-classes.ts';
import { epochMs } from './lease-records.ts';

type AgentRow = Pick<
  Tables['agents'],
  | 'agent_id'
  | 'epoch'
  | 'session_id'
  | 'server_id'
  | 'condition'
  | 'condition_code'
  | 'condition_message'
  | 'description'
> & {
  readonly opened_ms: number | null;
  readonly left_ms: number | null;
  readonly quarantined_ms: number | null;
  readonly pools_allowed: readonly string[] | null;
} & DrainColumns;

/** Reads agents, with what their leases use, by id. */
export class AgentRecords {
  readonly #build: Kysely<Tables>;
  readonly #classes: LeaseClasses;

  constructor(build: Kysely<Tables>, classes: LeaseClasses) {
    this.#build = build;
    this.#classes = classes;
  }

  /** 2 round trips. */
  async one(session: Session, agentId: string): Promise<AgentRecord> {
    checkText('agentId', agentId, storeLimits.idLengthMax);
    const [record] = await this.#complete(session, await session.query(this.#select().where('agent_id', '=', agentId)));
    if (!record) throw agentsNotFound([agentId]);
    return record;
  }

  /** 2 round trips a page. */
  async page(session: Session, page: { after?: string; limit: number }): Promise<AgentRecord[]> {
    checkWhole('limit', page.limit, 1, storeLimits.pageMax);
    if (page.after !== undefined) checkText('after', page.after, storeLimits.idLengthMax, true);
    const rows = this.#select()
      .where('agent_id', '>', page.after ?? '')
      .orderBy('agent_id')
      .limit(page.limit);
    return this.#complete(session, await session.query(rows));
  }

  #select() {
    return this.#build
      .selectFrom('agents')
      .select(['agent_id', 'epoch', 'session_id', 'server_id', 'condition', 'description'])
      .select(['condition_code', 'condition_message'])
      .select(epochMs<number | null>('opened_at').as('opened_ms'))
      .select(epochMs<number | null>('left_at').as('left_ms'))
      .select(['drain_source', 'drain_reason'])
      .select((eb) =>
        eb
          .selectFrom('enrolments')
          .select('pools')
          .whereRef('enrolments.agent_id', '=', 'agents.agent_id')
          .as('pools_allowed'),
      )
      .select(
        sql<number | null>`case when drained_until > now()
          then ceil(extract(epoch from drained_until - now()) * 1000)::bigint end`.as('drain_ms'),
      )
      .select(
        sql<number | null>`case when quarantined_until > now() then ${epochMs('quarantined_until')} end`.as(
          'quarantined_ms',
        ),
      );
  }

  async #complete(session: Session, agents: readonly AgentRow[]): Promise<AgentRecord[]> {
    if (agents.length === 0) return [];
    const used = await session.query(
      this.#build
        .selectFrom('leases')
        .select(['agent_id', 'class_id', sql<number>`count(*)`.as('leases')])
        .where('agent_id', '=', sql<string>`any(${agents.map((agent) => agent.agent_id)}::text[])`)
        .groupBy(['agent_id', 'class_id']),
    );
    await this.#classes.load(
      session,
      used.map((row) => row.class_id),
    );
    const usedBy = Map.groupBy(used, (row) => row.agent_id);
    return agents.map((agent) => {
      const rows = usedBy.get(agent.agent_id) ?? [];
      const resourcesUsed: Record<string, number> = {};
      for (const row of rows) {
        for (const [name, amount] of Object.entries(this.#classes.of(row.class_id).requirements.resources ?? {})) {
          resourcesUsed[name] = (resourcesUsed[name] ?? 0) + amount * row.leases;
        }
      }
      const drain = drainOf(agent);
      const { session_id: sessionId, server_id: serverId, opened_ms: openedAtMs } = agent;
      return {
        agentId: agent.agent_id,
        description: fromBinary(AgentDescriptionSchema, agent.description),
        epoch: agent.epoch,
        ...(sessionId !== null && serverId !== null && openedAtMs !== null
          ? { session: { sessionId, serverId, openedAtMs } }
          : {}),
        condition: conditions[agent.condition - 1] ?? 'ready',
        ...(agent.condition_code === null
          ? {}
          : { conditionReason: { code: agent.condition_code, message: agent.condition_message ?? '' } }),
        ...(agent.left_ms === null || sessionId !== null ? {} : { leftAtMs: agent.left_ms }),
        ...(drain ? { drain } : {}),
        ...(agent.pools_allowed === null || agent.pools_allowed.length === 0
          ? {}
          : { poolsAllowed: agent.pools_allowed }),
        ...(agent.quarantined_ms === null ? {} : { quarantinedUntilMs: agent.quarantined_ms }),
        leases: rows.reduce((sum, row) => sum + row.leases, 0),
        resourcesUsed,
      };
    });
  }
}
