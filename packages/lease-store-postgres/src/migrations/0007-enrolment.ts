import type { Migration } from './migration.ts';

/** Which machines are agents, and the keys that their credentials are signed with. */
export const enrolmentMigration: Migration = {
  id: 7,
  name: 'enrolment',
  isBreaking: false,
  statements: (s) => [
    `create table ${s}.enrolment_tokens (
       token_id text collate "C" not null constraint enrolment_tokens_pkey primary key,
       created_at timestamptz not null default now(),
       expires_at timestamptz not null,
       revoked_at timestamptz,
       uses_max integer,
       uses integer not null default 0,
       may_replace boolean not null,
       secret_hash text not null,
       created_by text not null,
       note text not null,
       pools text[] not null
     )`,
    `create table ${s}.enrolments (
       agent_id text collate "C" not null constraint enrolments_pkey primary key,
       generation bigint not null,
       enrolled_at timestamptz not null default now(),
       credential_expires_at timestamptz,
       revoked_at timestamptz,
       key_thumbprint text not null,
       token_id text,
       decided_by text,
       pools text[] not null
     ) with (fillfactor = 80)`,
    `create unique index enrolments_key on ${s}.enrolments (key_thumbprint)`,
    `create table ${s}.enrolment_requests (
       agent_id text collate "C" not null,
       key_thumbprint text collate "C" not null,
       requested_at timestamptz not null default now(),
       asked_at timestamptz not null default now(),
       is_rejected boolean not null default false,
       name text not null,
       address text not null,
       pools text[] not null,
       constraint enrolment_requests_pkey primary key (agent_id, key_thumbprint)
     ) with (fillfactor = 50)`,
    `create index enrolment_requests_asked on ${s}.enrolment_requests (asked_at)`,
    `create table ${s}.credential_keys (
       key_id text not null constraint credential_keys_pkey primary key,
       created_at timestamptz not null default now(),
       expires_at timestamptz not null,
       public_key text not null,
       sealed_private_key text not null
     )`,
  ],
};
