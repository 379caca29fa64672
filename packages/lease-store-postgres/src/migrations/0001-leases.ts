import type { Migration } from './migration.ts';

/**
 * Live leases, their classes, agents, servers and what has ended.
 *
 * An index keeps its entries only for rows that need them, and no index mentions `state`: an acceptance is then a
 * heap-only update, which touches no index at all. The columns that change stand together behind the ones that never do,
 * and the payload last, so that the log of an update holds little more than the change. Payloads above two kilobytes
 * move to the TOAST table on their own and are not rewritten.
 */
export const leasesMigration: Migration = {
  id: 1,
  name: 'leases',
  isBreaking: true,
  statements: (s) => [
    `create table ${s}.lease_classes (
       class_id integer generated always as identity primary key,
       source text not null,
       payload_type text not null,
       requirements_key text not null,
       key_digest text not null,
       requirements jsonb not null
     )`,
    // Keys may be longer than an index entry can be, so that their SHA-256 is indexed.
    `create unique index lease_classes_key on ${s}.lease_classes (source, payload_type, key_digest)`,

    `create sequence ${s}.lease_seq`,
    `create table ${s}.leases (
       lease_id uuid not null,
       job_id uuid,
       seq bigint not null default nextval('${s}.lease_seq'),
       created_at timestamptz not null default now(),
       run_limit_ms bigint not null,
       cancel_grace_ms bigint not null,
       class_id integer not null,
       backoff_ms integer not null,
       rank smallint not null,
       attempts_max smallint not null,
       retry_after smallint not null,
       state smallint not null,
       counted smallint not null default 0,
       attempt integer not null,
       epoch bigint,
       assigned_at timestamptz,
       due_at timestamptz,
       agent_id text,
       cancel_reason text,
       excluded text[],
       name text not null,
       payload bytea not null
     ) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)`,
    `alter table ${s}.leases alter column payload set storage external`,
    `alter table ${s}.leases add constraint leases_pkey primary key (lease_id)`,
    `create index leases_waiting on ${s}.leases (class_id, rank, seq) where agent_id is null and due_at is null`,
    `create index leases_delayed on ${s}.leases (due_at) where due_at is not null`,
    `create index leases_bound on ${s}.leases (agent_id) where agent_id is not null`,
    `create index leases_job on ${s}.leases (job_id) where job_id is not null`,

    `create table ${s}.agents (
       agent_id text primary key,
       epoch bigint not null,
       session_id text,
       server_id text,
       previous_session_id text,
       previous_server_id text,
       instance_nonce text,
       opened_at timestamptz,
       condition smallint not null default 1,
       enabled boolean not null default true,
       quarantined_until timestamptz,
       takeovers timestamptz[] not null default '{}',
       description bytea not null
     ) with (fillfactor = 70)`,
    `create index agents_server on ${s}.agents (server_id) where session_id is not null`,
    `create table ${s}.servers (
       server_id text primary key,
       beat_at timestamptz not null,
       left_at timestamptz
     ) with (fillfactor = 50)`,

    `create table ${s}.lease_history (
       lease_id uuid not null,
       job_id uuid,
       seq bigint not null,
       created_at timestamptz not null,
       assigned_at timestamptz,
       ended_at timestamptz not null,
       epoch bigint,
       class_id integer not null,
       attempt integer not null,
       rank smallint not null,
       outcome smallint not null,
       succeeded boolean,
       cancel_wished boolean not null,
       agent_id text,
       name text not null,
       excluded text[],
       reason_code text,
       reason_message text,
       output_type text,
       output bytea
     ) partition by range (ended_at)`,
    `alter table ${s}.lease_history alter column output set storage external`,
    `create index lease_history_lease on ${s}.lease_history (lease_id)`,
    `create index lease_history_job on ${s}.lease_history (job_id) where job_id is not null`,
    `create table ${s}.lease_history_default partition of ${s}.lease_history default`,

    `create table ${s}.attempt_history (
       lease_id uuid not null,
       attempt integer not null,
       epoch bigint not null,
       assigned_at timestamptz not null,
       ended_at timestamptz not null,
       outcome smallint not null,
       agent_id text not null,
       reason_code text,
       reason_message text
     ) partition by range (ended_at)`,
    `create index attempt_history_lease on ${s}.attempt_history (lease_id, attempt)`,
    `create table ${s}.attempt_history_default partition of ${s}.attempt_history default`,
  ],
};
