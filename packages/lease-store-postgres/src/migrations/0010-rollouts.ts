import type { Migration } from './migration.ts';

/** The wanted versions of channels. An earlier version does without. */
export const rolloutsMigration: Migration = {
  id: 10,
  name: 'rollouts',
  isBreaking: false,
  statements: (s) => [
    `create table ${s}.rollouts (
       channel text primary key,
       revision bigint not null,
       rollout_id uuid not null,
       state text not null,
       ring smallint not null,
       ring_done_at timestamptz,
       reason jsonb,
       started_by text not null,
       started_at timestamptz not null default now(),
       -- What does not change while it lasts.
       draft jsonb not null,
       previous jsonb
     )`,
  ],
};
