import type { AgentHealth } from '@drover/agent-health';
import { principalName } from '@drover/lease-kit';
import {
  agentsNotFound,
  auditedHealth,
  checkAgentIds,
  checkHealthChanges,
  checkPage,
  checkText,
  checkWhole,
  clearedHealth,
  leftAtWork,
  storedHealth,
  storeLimits,
  type AgentHealthChange,
  type AgentHealthRecord,
  type AgentHealthResult,
  type StoreContext,
} from '@drover/lease-store';
import type { AuditLines } from './audit-lines.ts';
import { statement, type Session, type Statement } from './internal/database.ts';
import { textArray } from './internal/sql-array.ts';

interface HealthRow {
  readonly agent_id: string;
  readonly revision: number;
  readonly pools: string[];
  readonly health: string;
}

const columns = `agent_id, revision, pools, health::text as health`;

/**
 * The health of agents, a row for each that is not healthy. Changes go one after the other under an advisory lock: what one
 * counts is what all before it have committed, since each statement of a READ COMMITTED transaction has a snapshot of its own.
 */
export class AgentHealthRecords {
  readonly #audit: AuditLines;
  readonly #lockName: string;
  readonly #lock: Statement;
  readonly #pass: Statement;
  readonly #page: Statement;
  readonly #of: Statement;
  readonly #known: Statement;
  readonly #count: Statement;
  readonly #put: Statement;
  readonly #remove: Statement;

  constructor(s: string, audit: AuditLines) {
    this.#audit = audit;
    this.#lockName = `drover agent health ${s}`;
    this.#lock = statement(
      'health_lock',
      `select pg_advisory_xact_lock(hashtextextended($1, 0)), floor(extract(epoch from now()) * 1000)::bigint as now_ms`,
    );
    this.#pass = statement(
      'health_pass',
      `update ${s}.agent_health_pass set next_at = now() + $1 * interval '1 millisecond' where next_at <= now()
       returning true as claimed`,
    );
    this.#page = statement(
      'health_page',
      `select ${columns} from ${s}.agent_health where agent_id > $1 order by agent_id limit $2`,
    );
    this.#of = statement(
      'health_of',
      `select ${columns} from ${s}.agent_health where agent_id = any($1::text[]) order by agent_id`,
    );
    // The lock keeps the agents from being forgotten before their health is there.
    this.#known = statement(
      'health_known',
      `select agent_id from ${s}.agents where agent_id = any($1::text[]) order by agent_id for key share`,
    );
    this.#count = statement(
      'health_count',
      `select count(*) as withheld from ${s}.agent_health where pools <> '{}' and pools @> array[$1::text]`,
    );
    this.#put = statement(
      'health_put',
      `insert into ${s}.agent_health (agent_id, revision, pools, health) values ($1, 1, $2::text[], $3::jsonb)
       on conflict (agent_id) do update
         set revision = agent_health.revision + 1, pools = excluded.pools, health = excluded.health`,
    );
    this.#remove = statement('health_remove', `delete from ${s}.agent_health where agent_id = $1`);
  }

  async claimPass(session: Session, everyMs: number): Promise<boolean> {
    checkWhole('everyMs', everyMs, 10, 86_400_000);
    return (await session.run(this.#pass, [everyMs])).length > 0;
  }

  async page(
    session: Session,
    page: { readonly after?: string; readonly limit: number },
  ): Promise<AgentHealthRecord[]> {
    checkPage(page);
    return (await session.run<HealthRow>(this.#page, [page.after ?? '', page.limit])).map(recordOf);
  }

  async of(session: Session, agentIds: readonly string[]): Promise<AgentHealthRecord[]> {
    if (agentIds.length === 0) return [];
    checkAgentIds(agentIds);
    return (await session.run<HealthRow>(this.#of, [textArray(agentIds)])).map(recordOf);
  }

  /** In a transaction: 3 round trips, and for each change 1 or 2 and 1 more for each of its caps. */
  async change(session: Session, changes: readonly AgentHealthChange[]): Promise<AgentHealthResult[]> {
    checkHealthChanges(changes);
    if (changes.length === 0) return [];
    await session.run(this.#lock, [this.#lockName]);
    const known = await this.#knownIds(
      session,
      changes.map(({ agentId }) => agentId),
    );
    const results: AgentHealthResult[] = [];
    for (const change of changes) {
      results.push(
        known.has(change.agentId)
          ? await this.#changeOne(session, change)
          : { agentId: change.agentId, result: 'changed' },
      );
    }
    return results;
  }

  /** In a transaction. */
  async clear(
    session: Session,
    agentIds: readonly string[],
    comment: string,
    context: StoreContext,
  ): Promise<AgentHealthRecord[]> {
    checkAgentIds(agentIds);
    checkText('comment', comment, storeLimits.commentLengthMax, true);
    const ids = [...new Set(agentIds)];
    const [locked] = await session.run<{ now_ms: number }>(this.#lock, [this.#lockName]);
    const known = await this.#knownIds(session, ids);
    const missing = ids.filter((agentId) => !known.has(agentId));
    if (missing.length > 0) throw agentsNotFound(missing);
    const records = await this.of(session, ids);
    const health = clearedHealth(principalName(context.principal), comment, locked!.now_ms);
    for (const agentId of ids) {
      await this.#write(session, agentId, health, []);
      await this.#audit.write(session, context, {
        subject: `agent:${agentId}`,
        before: auditedHealth(records.find((one) => one.agentId === agentId)),
        after: { state: health.state, reason: health.reason },
      });
    }
    return records;
  }

  async #changeOne(session: Session, change: AgentHealthChange): Promise<AgentHealthResult> {
    const { agentId, revision, next, caps } = change;
    const [before] = await this.of(session, [agentId]);
    if ((before?.revision ?? 0) !== revision) return { agentId, result: 'changed' };
    if (next === 'healthy') {
      await session.run(this.#remove, [agentId]);
      return { agentId, result: 'written' };
    }
    if (!next.isWithheld || before?.isWithheld === true) {
      await this.#write(session, agentId, next, next.isWithheld ? (before?.pools ?? []) : []);
      return { agentId, result: 'written' };
    }
    for (const { pool, max } of caps) {
      const [count] = await session.run<{ withheld: number }>(this.#count, [pool]);
      if (count!.withheld < max) continue;
      if (before?.state !== 'suspected') await this.#write(session, agentId, leftAtWork(next), []);
      return { agentId, result: 'full', pool };
    }
    await this.#write(
      session,
      agentId,
      next,
      caps.map(({ pool }) => pool),
    );
    return { agentId, result: 'written' };
  }

  async #knownIds(session: Session, agentIds: readonly string[]): Promise<ReadonlySet<string>> {
    const rows = await session.run<{ agent_id: string }>(this.#known, [textArray(agentIds)]);
    return new Set(rows.map((row) => row.agent_id));
  }

  async #write(session: Session, agentId: string, health: AgentHealth, pools: readonly string[]): Promise<void> {
    await session.run(this.#put, [agentId, textArray(pools), JSON.stringify(storedHealth(health))]);
  }
}

function recordOf({ agent_id: agentId, revision, pools, health }: HealthRow): AgentHealthRecord {
  return { ...(JSON.parse(health) as AgentHealth), agentId, revision, pools };
}
