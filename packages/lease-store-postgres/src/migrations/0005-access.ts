import type { Migration } from './migration.ts';

/** Tokens of people and programs, and the audit of what they change. */
export const accessMigration: Migration = {
  id: 5,
  name: 'access',
  isBreaking: false,
  statements: (s) => [
    `create table ${s}.tokens (
       token_id uuid not null constraint tokens_pkey primary key,
       hash bytea not null constraint tokens_hash unique,
       created_at timestamptz not null default now(),
       expires_at timestamptz,
       revoked_at timestamptz,
       used_at timestamptz,
       role smallint not null,
       user_name text not null,
       created_by text not null,
       comment text not null,
       pools text[] not null
     )`,
    `create index tokens_created on ${s}.tokens (created_at, token_id)`,

    `create sequence ${s}.audit_ids`,
    `create table ${s}.audit (
       entry_id bigint not null default nextval('${s}.audit_ids'),
       at timestamptz not null default now(),
       who text not null,
       credential text not null,
       address text not null,
       action text not null,
       subject text not null,
       before jsonb,
       after jsonb
     ) partition by range (at)`,
    `create index audit_entry on ${s}.audit (entry_id)`,
    `create table ${s}.audit_default partition of ${s}.audit default`,
    // Lines go with their partition; no statement of a server, and no slip of an administrator, changes one.
    `create function ${s}.refuse_change() returns trigger language plpgsql as
       $$begin raise exception 'lines of the audit are never changed' using errcode = 'insufficient_privilege'; end$$`,
    `create trigger audit_is_append_only before update or delete on ${s}.audit
       for each row execute function ${s}.refuse_change()`,
  ],
};
