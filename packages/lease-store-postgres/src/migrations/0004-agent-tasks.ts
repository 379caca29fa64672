import type { Migration } from './migration.ts';

/**
 * What is wanted of single agents: one row for a source and an agent, which stays when nothing is wanted any more and tells
 * how the last lease ended. Ids are compared byte by byte, so that pages are in the same order everywhere.
 */
export const agentTasksMigration: Migration = {
  id: 4,
  name: 'agent-tasks',
  isBreaking: false,
  statements: (s) => [
    `create sequence ${s}.agent_task_seq`,
    `create table ${s}.agent_tasks (
       source text collate "C" not null,
       agent_id text collate "C" not null,
       revision bigint not null,
       wanted boolean not null,
       forced boolean not null,
       requested_at timestamptz not null,
       not_before timestamptz,
       expires_at timestamptz not null,
       draining_until timestamptz,
       failures integer not null default 0,
       group_max integer,
       lease_id uuid,
       lease_revision bigint,
       last_lease_id uuid,
       last_outcome smallint,
       last_succeeded boolean,
       last_at timestamptz,
       group_name text,
       last_code text,
       last_message text,
       requested_by text not null,
       payload_type text not null,
       payload bytea not null,
       constraint agent_tasks_pkey primary key (source, agent_id)
     ) with (fillfactor = 70)`,
    `create index agent_tasks_open on ${s}.agent_tasks (source, revision) where wanted and lease_id is null`,
    `create index agent_tasks_carried on ${s}.agent_tasks (source) where lease_id is not null`,
    `create index agent_tasks_draining on ${s}.agent_tasks (source) where draining_until is not null`,
    `create index agent_tasks_agent on ${s}.agent_tasks (agent_id)`,
  ],
};
