import type { Migration } from './migration.ts';

/** Jobs, the logs of attempts and their progress. */
export const jobsMigration: Migration = {
  id: 2,
  name: 'jobs',
  isBreaking: true,
  statements: (s) => [
    `create table ${s}.jobs (
       job_id uuid not null constraint jobs_pkey primary key,
       created_at timestamptz not null default now(),
       priority smallint not null,
       submitter text not null,
       request_id text,
       name text not null,
       cancel_reason text,
       payload_type text not null,
       payload bytea not null
     )`,
    `alter table ${s}.jobs alter column payload set storage external`,
    `create unique index jobs_request on ${s}.jobs (submitter, request_id) where request_id is not null`,
    `create index jobs_created on ${s}.jobs (created_at, job_id)`,

    `create table ${s}.logs (
       lease_id uuid not null,
       attempt integer not null,
       log text not null,
       size_bytes bigint not null,
       size_before bigint not null,
       complete boolean not null,
       updated_at timestamptz not null default now(),
       constraint logs_pkey primary key (lease_id, attempt, log)
     ) with (fillfactor = 50)`,
    `create table ${s}.log_chunks (
       lease_id uuid not null,
       attempt integer not null,
       "offset" bigint not null,
       written_at timestamptz not null default now(),
       log text not null,
       data bytea not null
     ) partition by range (written_at)`,
    `create index log_chunks_place on ${s}.log_chunks (lease_id, attempt, log, "offset")`,
    `create table ${s}.log_chunks_default partition of ${s}.log_chunks default`,

    // A hint that may be lost with the server, so that it costs no write-ahead log.
    `create unlogged table ${s}.progress (
       lease_id uuid not null primary key,
       attempt integer not null,
       percent smallint not null,
       updated_at timestamptz not null default now(),
       message text not null
     ) with (fillfactor = 50)`,
  ],
};
