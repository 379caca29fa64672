import type { Migration } from './migration.ts';

/** Pools, what operators set for agents, and agents that are forgotten. Nothing that an earlier version wrote is read otherwise. */
export const poolsMigration: Migration = {
  id: 6,
  name: 'pools',
  isBreaking: true,
  statements: (s) => [
    `create table ${s}.pools (
       pool_key text primary key,
       name text not null,
       agents text[],
       condition text,
       comment text not null,
       changed_by text not null,
       changed_at timestamptz not null default now()
     )`,
    `create table ${s}.agent_settings (
       agent_id text primary key,
       disabled_at timestamptz,
       disabled_by text,
       disabled_comment text,
       busy_until timestamptz,
       busy_at timestamptz,
       busy_by text,
       busy_comment text
     )`,
    `create table ${s}.downtimes (
       downtime_id uuid primary key,
       created_at timestamptz not null default now(),
       -- When it is over for good; null for one that comes back.
       over_at timestamptz,
       created_by text not null,
       comment text not null,
       definition jsonb not null
     )`,

    `alter table ${s}.agents
       drop column enabled,
       add column ephemeral boolean not null default false,
       add column left_at timestamptz`,
    `create index agents_ephemeral on ${s}.agents (agent_id) where ephemeral and session_id is null`,
    // One row. An agent that comes back after it was forgotten gets a higher epoch than it ever had.
    `create table ${s}.epoch_floor (epoch bigint not null)`,
    `insert into ${s}.epoch_floor values (0)`,
  ],
};
