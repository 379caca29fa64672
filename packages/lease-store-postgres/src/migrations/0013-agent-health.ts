import type { Migration } from './migration.ts';

/**
 * What leases' ends say of agents. The indexes hold bad ends alone, so that a lease that succeeds costs nothing more than before;
 * a refused attempt never ran.
 */
export const agentHealthMigration: Migration = {
  id: 13,
  name: 'agent-health',
  isBreaking: false,
  statements: (s) => [
    `create index lease_history_bad on ${s}.lease_history (ended_at)
      where job_id is not null and (outcome in (2, 3, 5) or (outcome = 1 and succeeded is false))`,
    `create index attempt_history_bad on ${s}.attempt_history (ended_at) where outcome <> 6`,
    `create table ${s}.agent_health (
       agent_id text primary key references ${s}.agents on delete cascade,
       revision bigint not null,
       -- The pools whose caps count it; empty while it works.
       pools text[] not null,
       health jsonb not null
     )`,
    `create index agent_health_withheld on ${s}.agent_health using gin (pools) where pools <> '{}'`,
    // One row: when the facts are looked at next.
    `create table ${s}.agent_health_pass (next_at timestamptz not null)`,
    `insert into ${s}.agent_health_pass values (now())`,
  ],
};
