import type { BindAgentTasks, BoundAgentTask, EnqueueEntry } from '@drover/lease-store';
import type { EnqueueLeases } from './enqueue-leases.ts';
import { statement, type Session, type Statement } from './internal/database.ts';
import { plainArray, textArray } from './internal/sql-array.ts';

interface TaskRow {
  readonly agent_id: string;
  readonly revision: number;
  readonly is_open: boolean;
  readonly is_counted: boolean;
  readonly group_name: string | null;
  readonly group_max: number | null;
}

interface CountRow {
  readonly group_name: string | null;
  readonly taken: number;
}

type Entry = BindAgentTasks['entries'][number];

/**
 * Binds leases for agent tasks, and keeps places for agents that are drained. Calls for one source go one after the other,
 * under an advisory lock: what one of them counts is what all before it have committed, since each statement of a READ
 * COMMITTED transaction has a snapshot of its own. Agents' rows are locked as by a claim, so that nothing is ever bound to a
 * session that has been replaced.
 */
export class AgentTaskBinder {
  readonly #enqueue: EnqueueLeases;
  readonly #lock: Statement;
  readonly #tasks: Statement;
  readonly #counts: Statement;
  readonly #sessions: Statement;
  readonly #drain: Statement;
  readonly #carry: Statement;

  constructor(s: string, enqueue: EnqueueLeases) {
    this.#enqueue = enqueue;
    this.#lock = statement('agent_tasks_caps', `select pg_advisory_xact_lock(hashtextextended($1, 0))`);
    // What takes a place: a lease that is bound, and a drain of an agent that is there.
    const isDraining = `t.wanted and t.lease_id is null and t.draining_until > now() and exists (
      select from ${s}.agents a where a.agent_id = t.agent_id and a.session_id is not null)`;
    this.#tasks = statement(
      'agent_tasks_due',
      `select t.agent_id, t.revision, t.group_name, t.group_max,
              t.wanted and t.lease_id is null and t.expires_at > now() and (t.not_before is null or t.not_before <= now())
                as is_open,
              coalesce(${isDraining}, false) as is_counted
         from ${s}.agent_tasks t
        where t.source = $1 and t.agent_id = any($2::text[]) order by t.agent_id for update of t`,
    );
    this.#counts = statement(
      'agent_tasks_count',
      `select t.group_name, count(*) as taken from (
         select t.group_name from ${s}.agent_tasks t
          where t.source = $1 and t.lease_id is not null and exists (
            select from ${s}.leases l where l.lease_id = t.lease_id and l.agent_id is not null)
         union all
         select t.group_name from ${s}.agent_tasks t where t.source = $1 and t.draining_until is not null and ${isDraining}) t
        group by t.group_name`,
    );
    this.#sessions = statement(
      'agent_tasks_sessions',
      `select a.agent_id from unnest($1::text[], $2::bigint[]) as d(agent_id, epoch)
        cross join lateral (
          select a.agent_id from ${s}.agents a
           where a.agent_id = d.agent_id and a.epoch = d.epoch and a.session_id is not null
             for share skip locked) a`,
    );
    this.#drain = statement(
      'agent_tasks_drain',
      `update ${s}.agent_tasks t set draining_until = now() + $3 * interval '1 millisecond'
        where t.source = $1 and t.agent_id = any($2::text[])`,
    );
    this.#carry = statement(
      'agent_tasks_carry',
      `update ${s}.agent_tasks t
          set lease_id = b.lease_id, lease_revision = t.revision, draining_until = null
         from unnest($2::text[], $3::uuid[]) as b(agent_id, lease_id)
        where t.source = $1 and t.agent_id = b.agent_id`,
    );
  }

  /** In a transaction. At most 7 round trips, whatever the number of entries. */
  async run(session: Session, schema: string, request: BindAgentTasks): Promise<BoundAgentTask[]> {
    const { source, entries, drainTtlMs } = request;
    if (entries.length === 0) return [];
    await session.run(this.#lock, [`drover agent tasks ${schema} ${source}`]);
    const agentIds = entries.map(({ session: { agentId } }) => agentId);
    const rows = await session.run<TaskRow>(this.#tasks, [source, textArray(agentIds)]);
    const tasks = new Map(rows.map((row) => [row.agent_id, row]));
    const current = await session.run<{ agent_id: string }>(this.#sessions, [
      textArray(agentIds),
      plainArray(entries.map((entry) => entry.session.epoch)),
    ]);
    const isCurrent = new Set(current.map((row) => row.agent_id));
    const places = new Places(await session.run<CountRow>(this.#counts, [source]), request.atOnceMax);

    const decided = entries.map((entry): { entry: Entry; result: BoundAgentTask['result'] } => {
      const task = tasks.get(entry.session.agentId);
      if (!task?.is_open || task.revision !== entry.revision) return { entry, result: 'changed' };
      if (!isCurrent.has(entry.session.agentId)) return { entry, result: 'fenced' };
      if (!places.take(task)) return { entry, result: 'full' };
      return { entry, result: entry.draft === undefined ? 'draining' : 'bound' };
    });

    const drained = decided.filter(({ result }) => result === 'draining').map(({ entry }) => entry.session.agentId);
    if (drained.length > 0) await session.run(this.#drain, [source, textArray(drained), drainTtlMs]);
    const bound = decided.flatMap(({ entry: { draft, session: bindTo }, result }): Required<Entryless>[] =>
      result === 'bound' && draft !== undefined ? [{ draft, bindTo }] : [],
    );
    const attempts = await this.#enqueue.run(session, bound);
    if (bound.length > 0) {
      await session.run(this.#carry, [
        source,
        textArray(bound.map(({ bindTo }) => bindTo.agentId)),
        plainArray(bound.map(({ draft }) => draft.leaseId)),
      ]);
    }
    const attemptOf = new Map(attempts.map((attempt) => [attempt.agentId, attempt]));
    return decided.map(({ entry, result }): BoundAgentTask => {
      const key = { source, agentId: entry.session.agentId };
      if (result !== 'bound') return { ...key, result };
      const attempt = attemptOf.get(key.agentId);
      // The sessions are locked, so that this cannot be; if it is, nothing may be committed.
      if (!attempt) throw new RangeError(`the lease of ${key.agentId} was not bound`);
      return { ...key, result, attempt };
    });
  }
}

type Entryless = Pick<EnqueueEntry, 'draft' | 'bindTo'>;

/** What the caps leave. */
class Places {
  readonly #taken = new Map<string, number>();
  readonly #atOnceMax: number;
  #total = 0;

  constructor(counts: readonly CountRow[], atOnceMax = Number.POSITIVE_INFINITY) {
    this.#atOnceMax = atOnceMax;
    for (const { group_name: group, taken } of counts) {
      this.#total += taken;
      if (group !== null) this.#taken.set(group, taken);
    }
  }

  /** Takes a place for a task, if there is one; a task that has one already keeps it as far as the caps allow. */
  take({ group_name: group, group_max: max, is_counted: hasPlace }: TaskRow): boolean {
    const own = hasPlace ? 1 : 0;
    const inGroup = (group === null ? 0 : (this.#taken.get(group) ?? 0)) - own;
    if (this.#total - own >= this.#atOnceMax) return false;
    if (group !== null && inGroup >= (max ?? Number.POSITIVE_INFINITY)) return false;
    this.#total += 1 - own;
    if (group !== null) this.#taken.set(group, inGroup + 1);
    return true;
  }
}
