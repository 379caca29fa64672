import { storeLimits, type LostAttempt } from '@drover/lease-store';
import { newestMigration } from './migrations/index.ts';
import { statement, type Session, type Statement } from './internal/database.ts';
import { schemaTooNew } from './internal/postgres-error.ts';
import type { LeaseClasses } from './lease-classes.ts';
import { fateSql, isOverSql, loseAttempts, type StrayAttempt } from './lose-attempts.ts';
import type { RecordAttempts } from './record-attempts.ts';

/** The liveness of servers, and the end of what dead ones leave. All times are the database's. */
export class SessionSweep {
  readonly #deps: { readonly attempts: RecordAttempts; readonly classes: LeaseClasses };
  readonly #beat: Statement;
  readonly #leave: Statement;
  readonly #expire: Statement;
  readonly #strays: Statement;
  readonly #forget: Statement;

  constructor(s: string, deps: { attempts: RecordAttempts; classes: LeaseClasses }) {
    this.#deps = deps;
    // One row for all sessions of a server. A beat that a crash undoes costs nothing, so that it does not wait for the
    // disk. It also tells whether a newer version has changed the schema under this one.
    this.#beat = statement(
      'beat',
      `with quick as materialized (select set_config('synchronous_commit', 'off', true)),
       beat as (
         insert into ${s}.servers (server_id, beat_at) select $1, now() from quick
         on conflict (server_id) do update set beat_at = now(), left_at = null)
       select coalesce(max(id) filter (where is_breaking), 0) as breaking from ${s}.migrations`,
    );
    this.#leave = statement(
      'leave',
      `update ${s}.servers set left_at = now() where server_id = $1 and left_at is null`,
    );
    // A server that was never heard of counts as dead since its sessions were opened.
    this.#expire = statement(
      'sessions_expire',
      `with dead as materialized (
         select a.agent_id, a.epoch, least(coalesce(v.beat_at, a.opened_at), v.left_at) as heard_at
           from ${s}.agents a left join ${s}.servers v on v.server_id = a.server_id
          where a.session_id is not null
            and least(coalesce(v.beat_at, a.opened_at) + $1 * interval '1 millisecond', v.left_at)
                  + $2 * interval '1 millisecond' < now()
          order by a.agent_id limit 10000),
       forgotten as (
         delete from ${s}.servers v where v.beat_at < now() - interval '7 days'
            and not exists (select 1 from ${s}.agents a where a.server_id = v.server_id and a.session_id is not null))
       update ${s}.agents a set session_id = null, left_at = now(), away_since = dead.heard_at from dead
        where a.agent_id = dead.agent_id and a.epoch = dead.epoch and a.session_id is not null`,
    );
    // Ephemeral agents that have left. None holds an attempt: those of agents without a session have been ended before.
    this.#forget = statement(
      'ephemeral_forget',
      `with left_agents as materialized (
         select a.agent_id from ${s}.agents a where a.ephemeral and a.session_id is null order by a.agent_id limit 1000
            for update skip locked),
       gone as (
         delete from ${s}.agents a using left_agents l where a.agent_id = l.agent_id and a.session_id is null
           and not exists (select 1 from ${s}.leases x where x.agent_id = a.agent_id)
         returning a.agent_id, a.epoch),
       unset as (delete from ${s}.agent_settings t using gone where t.agent_id = gone.agent_id),
       unwanted as (delete from ${s}.agent_tasks t using gone where t.agent_id = gone.agent_id)
       update ${s}.epoch_floor f set epoch = greatest(f.epoch, (select max(epoch) from gone))
        where exists (select 1 from gone)`,
    );
    this.#strays = statement(
      'strays',
      `select l.lease_id, l.attempt, l.agent_id, l.epoch, ${fateSql('l', 'a')} as fate
         from ${s}.leases l left join ${s}.agents a on a.agent_id = l.agent_id and a.epoch = l.epoch
        where l.agent_id is not null and a.session_id is null and ${isOverSql('l', 'a')}
        limit ${storeLimits.sweepMax}`,
    );
  }

  /** 1 round trip, one row. Throws `SCHEMA_TOO_NEW`. */
  async beat(session: Session, serverId: string): Promise<void> {
    const [row] = await session.run<{ breaking: number }>(this.#beat, [serverId]);
    if (row && row.breaking > newestMigration) throw schemaTooNew(row.breaking, newestMigration);
  }

  /** 1 round trip, one row. */
  async leave(session: Session, serverId: string): Promise<void> {
    await session.run(this.#leave, [serverId]);
  }

  /** 3 round trips. Each commits by itself, so that a crash between them loses nothing. */
  async sweep(session: Session, limits: { serverTtlMs: number; graceMs: number }): Promise<LostAttempt[]> {
    await session.run(this.#expire, [limits.serverTtlMs, limits.graceMs]);
    const strays = await session.run<StrayAttempt>(this.#strays, []);
    if (strays.length === 0) await session.run(this.#forget, []);
    return loseAttempts(session, this.#deps, strays, {
      code: 'SESSION_EXPIRED',
      message: 'The session of the agent ended before this attempt did.',
    });
  }
}
