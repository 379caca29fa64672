import { toBinary } from '@bufbuild/protobuf';
import { AgentDescriptionSchema, type AgentDescription } from '@drover/lease-protocol';
import {
  agentOnline,
  agentsNotFound,
  checkCount,
  isUuid,
  storeLimits,
  storedMessage,
  type AgentRecord,
  type ConditionReport,
  type LostAttempt,
  type NewSession,
  type OpenedSession,
  type SessionRef,
} from '@drover/lease-store';
import { drainColumnsSql, drainOf, type DrainColumns } from './agent-drains.ts';
import type { BoundAttempts } from './bound-attempts.ts';
import { statement, type Session, type Statement } from './internal/database.ts';
import type { LeaseClasses } from './lease-classes.ts';
import { fateSql, isOverSql, loseAttempts, type StrayAttempt } from './lose-attempts.ts';
import type { RecordAttempts } from './record-attempts.ts';

interface OpenedRow extends DrainColumns {
  readonly epoch: number;
  readonly is_quarantined: boolean;
  readonly is_new: boolean;
  readonly previous_session_id: string | null;
  readonly previous_server_id: string | null;
}

/** What opening a session came to; a quarantine commits as well, so that it is no exception here. */
export type OpenOutcome =
  | { readonly kind: 'opened'; readonly opened: OpenedSession }
  | { readonly kind: 'quarantined'; readonly remainingMs: number; readonly fencedEpoch?: number };

/** How conditions are stored. */
export const conditions: readonly AgentRecord['condition'][] = ['ready', 'busy', 'stopping', 'unhealthy'];

/**
 * Opens and ends sessions. The statement that changes the agent's row waits for claims that hold its share lock; a later
 * statement, with a snapshot of its own, then sees what they bound.
 */
export class AgentSessions {
  readonly #deps: { readonly attempts: RecordAttempts; readonly classes: LeaseClasses };
  readonly #bound: BoundAttempts;
  readonly #open: Statement;
  readonly #quarantine: Statement;
  readonly #strays: Statement;
  readonly #raise: Statement;
  readonly #remove: Statement;
  readonly #ended: Statement;
  readonly #end: Statement;
  readonly #condition: Statement;
  readonly #description: Statement;

  constructor(s: string, deps: { attempts: RecordAttempts; classes: LeaseClasses; bound: BoundAttempts }) {
    this.#deps = deps;
    this.#bound = deps.bound;
    const { takeoverWindowMs, quarantineMs } = storeLimits;
    const recent = `array(select t from unnest(a.takeovers) t where t > now() - interval '${takeoverWindowMs} milliseconds')`;
    const isTakeover = `a.session_id is not null and a.instance_nonce <> $4`;
    // In a quarantine the other process loses its session as well: nobody can say which of the two is the machine meant.
    const isTooMuch = `(${isTakeover} and cardinality(${recent}) + 1 >= ${storeLimits.takeoversMax})`;
    const unlessTooMuch = (value: string, otherwise: string) =>
      `case when ${isTooMuch} then ${otherwise} else ${value} end`;
    this.#open = statement(
      'session_open',
      `with server as (
         insert into ${s}.servers (server_id, beat_at) values ($3, now()) on conflict do nothing)
       insert into ${s}.agents as a (agent_id, epoch, session_id, server_id, instance_nonce, description, ephemeral, opened_at)
       values ($1, (select epoch + 1 from ${s}.epoch_floor), $2, $3, $4, $5, $6, now())
       on conflict (agent_id) do update
          set epoch = a.epoch + 1, previous_session_id = a.session_id, previous_server_id = a.server_id,
              session_id = ${unlessTooMuch('$2', 'null')},
              server_id = ${unlessTooMuch('$3', 'a.server_id')},
              instance_nonce = ${unlessTooMuch('$4', 'a.instance_nonce')},
              description = ${unlessTooMuch('$5', 'a.description')},
              ephemeral = ${unlessTooMuch('$6', 'a.ephemeral')},
              left_at = ${unlessTooMuch('null', 'now()')},
              quarantined_until = ${unlessTooMuch('null', `now() + interval '${quarantineMs} milliseconds'`)},
              takeovers = ${unlessTooMuch(`case when ${isTakeover} then array_append(${recent}, now()) else ${recent} end`, `'{}'`)},
              opened_at = now(), condition = 1, condition_code = null, condition_message = null,
              away_since = ${unlessTooMuch('null', 'now()')}
        where a.quarantined_until is null or a.quarantined_until <= now()
       returning a.epoch, a.session_id is null as is_quarantined, a.xmax::text = '0' as is_new, a.previous_session_id, a.previous_server_id,
                 ${drainColumnsSql('a')}`,
    );
    this.#quarantine = statement(
      'agent_quarantine',
      `select ceil(extract(epoch from quarantined_until - now()) * 1000)::bigint as remaining_ms
         from ${s}.agents where agent_id = $1 and quarantined_until is not null`,
    );
    this.#strays = statement(
      'agent_strays',
      `select l.lease_id, l.attempt, l.agent_id, l.epoch from ${s}.leases l where l.agent_id = $1 and l.epoch < $2`,
    );
    this.#raise = statement(
      'agent_raise',
      `update ${s}.agents a set epoch = f.epoch + 1 from ${s}.epoch_floor f
        where a.agent_id = $1 and a.epoch = $2 and f.epoch >= a.epoch returning a.epoch`,
    );
    this.#remove = statement(
      'agent_remove',
      `with gone as (delete from ${s}.agents where agent_id = $1 and session_id is null returning epoch),
       unset as (delete from ${s}.agent_settings where agent_id = $1 and exists (select 1 from gone)),
       unwanted as (delete from ${s}.agent_tasks where agent_id = $1 and exists (select 1 from gone)),
       raised as (
         update ${s}.epoch_floor f set epoch = greatest(f.epoch, gone.epoch) from gone)
       select exists (select 1 from gone) as is_gone, exists (select 1 from ${s}.agents where agent_id = $1) as was_there`,
    );
    this.#ended = statement(
      'session_ended',
      `select l.lease_id, l.attempt, l.agent_id, l.epoch, ${fateSql('l', 'a')} as fate
         from ${s}.leases l join ${s}.agents a on a.agent_id = l.agent_id
        where l.agent_id = $1 and l.epoch <= $2 and ${isOverSql('l', 'a')}`,
    );
    this.#end = statement(
      'session_end',
      `update ${s}.agents
          set session_id = null, left_at = now(), away_since = now() - $3 * interval '1 millisecond'
        where agent_id = $1 and epoch = $2 and session_id is not null returning epoch`,
    );
    this.#condition = statement(
      'agent_condition',
      `update ${s}.agents set condition = $3, condition_code = $4, condition_message = $5
        where agent_id = $1 and epoch = $2 and session_id is not null`,
    );
    this.#description = statement(
      'agent_description',
      `update ${s}.agents set description = $3, ephemeral = $4 where agent_id = $1 and epoch = $2 and session_id is not null`,
    );
  }

  /**
   * 2 round trips and 1 commit, a third of each if attempts are lost. With proven attempts it must run in a transaction, so
   * that no sweep finds them between the change of the epoch and their rebinding. Without, whoever ends the earlier
   * attempts, this call or after a crash the sweep, ends them as lost.
   */
  async open(session: Session, wanted: NewSession): Promise<OpenOutcome> {
    const description = storedDescription(wanted.description);
    const { agentId, sessionId, serverId, instanceNonce } = wanted;
    const { ephemeral } = wanted.description;
    const values = [agentId, sessionId, serverId, instanceNonce, description, ephemeral];
    const [row] = await session.run<OpenedRow>(this.#open, values);
    if (!row) {
      const [found] = await session.run<{ remaining_ms: number }>(this.#quarantine, [agentId]);
      return { kind: 'quarantined', remainingMs: Math.max(1, found?.remaining_ms ?? 1) };
    }
    const epoch = row.is_new ? await this.#aboveFloor(session, agentId, row.epoch) : row.epoch;
    if (row.is_quarantined) {
      return { kind: 'quarantined', remainingMs: storeLimits.quarantineMs, fencedEpoch: epoch };
    }
    const proven = wanted.proven.filter(({ leaseId, attempt }) => isUuid(leaseId) && isAttemptNumber(attempt));
    const rebound = proven.length > 0 ? await this.#bound.rebind(session, { agentId, epoch }, proven) : [];
    const strays = await session.run<StrayAttempt>(this.#strays, [agentId, epoch]);
    const lost = await loseAttempts(session, this.#deps, strays, {
      code: 'SESSION_REPLACED',
      message: 'The agent opened a new session without proof that it holds this attempt.',
    });
    const drain = drainOf(row);
    const { previous_session_id: fencedId, previous_server_id: fencedServer } = row;
    const fenced =
      fencedId === null || fencedServer === null
        ? {}
        : { fenced: { sessionId: fencedId, serverId: fencedServer, epoch: epoch - 1 } };
    return { kind: 'opened', opened: { epoch, rebound, lost, ...(drain ? { drain } : {}), ...fenced } };
  }

  /** 1 round trip. */
  async remove(session: Session, agentId: string): Promise<void> {
    const [row] = await session.run<{ is_gone: boolean; was_there: boolean }>(this.#remove, [agentId]);
    if (row?.is_gone === true) return;
    throw row?.was_there === true ? agentOnline(agentId) : agentsNotFound([agentId]);
  }

  /**
   * The epoch of an agent that was not there. Its statement may have waited for the one that forgot it, and then have read a
   * floor from before; this one, with a snapshot of its own, sees the floor as it was left.
   */
  async #aboveFloor(session: Session, agentId: string, epoch: number): Promise<number> {
    const [raised] = await session.run<{ epoch: number }>(this.#raise, [agentId, epoch]);
    return raised?.epoch ?? epoch;
  }

  /** In a transaction. */
  async end(session: Session, ref: SessionRef, reason: string, silentMs: number): Promise<LostAttempt[]> {
    const ended = await session.run(this.#end, [ref.agentId, ref.epoch, silentMs]);
    if (ended.length === 0) return [];
    const strays = await session.run<StrayAttempt>(this.#ended, [ref.agentId, ref.epoch]);
    return loseAttempts(session, this.#deps, strays, { code: 'SESSION_ENDED', message: storedMessage(reason) });
  }

  /** 1 round trip. */
  async recordDescription(session: Session, ref: SessionRef, description: AgentDescription): Promise<void> {
    await session.run(this.#description, [
      ref.agentId,
      ref.epoch,
      storedDescription(description),
      description.ephemeral,
    ]);
  }

  /** 1 round trip; a heap-only update. */
  async recordCondition(session: Session, ref: SessionRef, { condition, reason }: ConditionReport): Promise<void> {
    const message = reason === undefined ? null : storedMessage(reason.message);
    const state = conditions.indexOf(condition) + 1;
    await session.run(this.#condition, [ref.agentId, ref.epoch, state, reason?.code ?? null, message]);
  }
}

function storedDescription(description: AgentDescription): Buffer {
  const bytes = toBinary(AgentDescriptionSchema, description);
  checkCount('description: bytes', bytes.length, storeLimits.descriptionBytesMax);
  return Buffer.from(bytes);
}

function isAttemptNumber(attempt: number): boolean {
  return Number.isSafeInteger(attempt) && attempt >= 1 && attempt <= 2 ** 31 - 1;
}
