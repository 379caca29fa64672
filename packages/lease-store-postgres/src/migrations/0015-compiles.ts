import type { Migration } from './migration.ts';

/** The compile farm: tenants, workers, keys of task tokens, tokens that are out, and records of compiles. */
export const compilesMigration: Migration = {
  id: 15,
  name: 'compiles',
  isBreaking: false,
  statements: (s) => [
    `create table ${s}.compile_tenants (
       tenant_id text primary key,
       definition jsonb not null,
       changed_by text not null,
       changed_at timestamptz not null default now()
     )`,

    // Of all workers: an epoch is never given twice, also not to a worker that was forgotten.
    `create sequence ${s}.compile_worker_epochs`,
    `create table ${s}.compile_workers (
       worker_id text primary key,
       instance_nonce text not null,
       heard_at timestamptz not null default now(),
       -- Null until the process has registered.
       epoch bigint,
       registration jsonb,
       report jsonb
     ) with (fillfactor = 50)`,

    `create table ${s}.compile_keys (
       key_id text primary key,
       created_at timestamptz not null default now(),
       signs_at timestamptz not null,
       expires_at timestamptz not null,
       public_key text not null,
       sealed_private_key text not null
     )`,

    // One row for all tokens of a tenant on a worker of one second.
    `create table ${s}.compile_places (
       tenant_id text not null,
       worker_id text not null,
       issued_at timestamptz not null,
       expires_at timestamptz not null,
       issued int not null,
       -- Those that no record of a compile has ended.
       open int not null check (open >= 0),
       primary key (tenant_id, worker_id, issued_at)
     )`,
    `create index compile_places_open on ${s}.compile_places (expires_at) include (tenant_id, worker_id, open)
       where open > 0`,

    `create sequence ${s}.compile_record_ids`,
    `create table ${s}.compile_records (
       compile_id uuid not null,
       started_at timestamptz not null,
       recorded_at timestamptz not null default now(),
       record_id bigint not null default nextval('${s}.compile_record_ids'),
       tenant_id text not null,
       worker_id text not null,
       record jsonb not null,
       primary key (compile_id, started_at)
     ) partition by range (started_at)`,
    `create index compile_records_id on ${s}.compile_records (record_id)`,
    `create index compile_records_tenant on ${s}.compile_records (tenant_id, record_id)`,
    `create index compile_records_worker on ${s}.compile_records (worker_id, record_id)`,
    `create table ${s}.compile_records_default partition of ${s}.compile_records default`,
  ],
};
