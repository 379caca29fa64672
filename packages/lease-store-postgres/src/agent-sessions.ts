import { toBinary } from '@bufbuild/protobuf';
import { AgentDescriptionSchema } from '@drover/lease-protocol';
import {
  checkCount,
  isUuid,
  storeLimits,
  storedMessage,
  type AgentRecord,
  type LostAttempt,
  type NewSession,
  type OpenedSession,
  type SessionRef,
} from '@drover/lease-store';
import type { BoundAttempts } from './bound-attempts.ts';
import { statement, type Session, type Statement } from './internal/database.ts';
import type { LeaseClasses } from './lease-classes.ts';
import { loseAttempts, type StrayAttempt } from './lose-attempts.ts';
import type { RecordAttempts } from './record-attempts.ts';

interface AgentRow {
  readonly epoch: number;
  readonly session_id: string | null;
  readonly server_id: string | null;
  readonly instance_nonce: string | null;
  readonly quarantine_ms: number | null;
  readonly takeovers_recent: number;
}

/** What opening a session came to; a quarantine commits as well, so that it is no exception here. */
export type OpenOutcome =
  | { readonly kind: 'opened'; readonly opened: OpenedSession }
  | { readonly kind: 'quarantined'; readonly remainingMs: number; readonly fencedEpoch?: number };

/** How conditions are stored. */
export const conditions: readonly AgentRecord['condition'][] = ['ready', 'busy', 'stopping', 'unhealthy'];

/**
 * Opens and ends sessions. A transaction of several statements, since what is decided must be seen under the lock of the
 * agent's row: a claim that holds the share lock commits first, and its attempt is then found here.
 */
export class AgentSessions {
  readonly #deps: { readonly attempts: RecordAttempts; readonly classes: LeaseClasses };
  readonly #bound: BoundAttempts;
  readonly #lock: Statement;
  readonly #insert: Statement;
  readonly #replace: Statement;
  readonly #quarantine: Statement;
  readonly #strays: Statement;
  readonly #end: Statement;
  readonly #condition: Statement;

  constructor(s: string, deps: { attempts: RecordAttempts; classes: LeaseClasses; bound: BoundAttempts }) {
    this.#deps = deps;
    this.#bound = deps.bound;
    const { takeoverWindowMs, quarantineMs } = storeLimits;
    const recent = (table: string) =>
      `array(select t from unnest(${table}takeovers) t where t > now() - interval '${takeoverWindowMs} milliseconds')`;
    this.#lock = statement(
      'agent_lock',
      `select epoch, session_id, server_id, instance_nonce, cardinality(${recent('')}) as takeovers_recent,
              ceil(extract(epoch from quarantined_until - now()) * 1000)::bigint as quarantine_ms
         from ${s}.agents where agent_id = $1 for update`,
    );
    this.#insert = statement(
      'agent_insert',
      `insert into ${s}.agents (agent_id, epoch, description) values ($1, 0, $2) on conflict do nothing`,
    );
    this.#replace = statement(
      'agent_replace',
      `with server as (
         insert into ${s}.servers (server_id, beat_at) values ($3, now()) on conflict do nothing)
       update ${s}.agents a
          set epoch = a.epoch + 1, session_id = $2, server_id = $3, instance_nonce = $4, description = $5,
              opened_at = now(), condition = 1, quarantined_until = null,
              takeovers = case when $6::boolean then array_append(${recent('a.')}, now()) else ${recent('a.')} end
        where a.agent_id = $1 returning a.epoch`,
    );
    // The other process loses its session as well: nobody can say which of the two is the machine that is meant.
    this.#quarantine = statement(
      'agent_quarantine',
      `update ${s}.agents a set epoch = a.epoch + 1, session_id = null, takeovers = '{}',
              quarantined_until = now() + interval '${quarantineMs} milliseconds'
        where a.agent_id = $1`,
    );
    this.#strays = statement(
      'agent_strays',
      `select l.lease_id, l.attempt, l.agent_id, l.epoch from ${s}.leases l where l.agent_id = $1 and l.epoch < $2`,
    );
    this.#end = statement(
      'session_end',
      `update ${s}.agents set session_id = null where agent_id = $1 and epoch = $2 and session_id is not null
       returning epoch`,
    );
    this.#condition = statement(
      'agent_condition',
      `update ${s}.agents set condition = $3 where agent_id = $1 and epoch = $2 and session_id is not null`,
    );
  }

  /** In a transaction. */
  async open(session: Session, wanted: NewSession): Promise<OpenOutcome> {
    const description = toBinary(AgentDescriptionSchema, wanted.description);
    checkCount('description: bytes', description.length, storeLimits.descriptionBytesMax);
    let [agent] = await session.run<AgentRow>(this.#lock, [wanted.agentId]);
    if (!agent) {
      await session.run(this.#insert, [wanted.agentId, Buffer.from(description)]);
      [agent] = await session.run<AgentRow>(this.#lock, [wanted.agentId]);
    }
    if (!agent) throw new RangeError(`agent ${wanted.agentId} vanished while its session was opened`);
    if (agent.quarantine_ms !== null && agent.quarantine_ms > 0) {
      return { kind: 'quarantined', remainingMs: agent.quarantine_ms };
    }
    const isTakeover = agent.session_id !== null && agent.instance_nonce !== wanted.instanceNonce;
    if (isTakeover && agent.takeovers_recent + 1 >= storeLimits.takeoversMax) {
      await session.run(this.#quarantine, [wanted.agentId]);
      return { kind: 'quarantined', remainingMs: storeLimits.quarantineMs, fencedEpoch: agent.epoch + 1 };
    }
    const [replaced] = await session.run<{ epoch: number }>(this.#replace, [
      wanted.agentId,
      wanted.sessionId,
      wanted.serverId,
      wanted.instanceNonce,
      Buffer.from(description),
      isTakeover,
    ]);
    const ref: SessionRef = { agentId: wanted.agentId, epoch: replaced?.epoch ?? agent.epoch + 1 };
    const proven = wanted.proven.filter(({ leaseId, attempt }) => isUuid(leaseId) && Number.isInteger(attempt));
    const rebound = proven.length > 0 ? await this.#bound.rebind(session, ref, proven) : [];
    const strays = await session.run<StrayAttempt>(this.#strays, [ref.agentId, ref.epoch]);
    const lost = await loseAttempts(session, this.#deps, strays, {
      code: 'SESSION_REPLACED',
      message: 'The agent opened a new session without proof that it holds this attempt.',
    });
    const fenced =
      agent.session_id === null || agent.server_id === null
        ? {}
        : { fenced: { sessionId: agent.session_id, serverId: agent.server_id, epoch: agent.epoch } };
    return { kind: 'opened', opened: { epoch: ref.epoch, rebound, lost, ...fenced } };
  }

  /** In a transaction. */
  async end(session: Session, ref: SessionRef, reason: string): Promise<LostAttempt[]> {
    const ended = await session.run(this.#end, [ref.agentId, ref.epoch]);
    if (ended.length === 0) return [];
    const strays = await session.run<StrayAttempt>(this.#strays, [ref.agentId, ref.epoch + 1]);
    return loseAttempts(session, this.#deps, strays, { code: 'SESSION_ENDED', message: storedMessage(reason) });
  }

  /** 1 round trip; a heap-only update. */
  async recordCondition(session: Session, ref: SessionRef, condition: AgentRecord['condition']): Promise<void> {
    await session.run(this.#condition, [ref.agentId, ref.epoch, conditions.indexOf(condition) + 1]);
  }
}
