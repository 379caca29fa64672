import type { Migration } from './migration.ts';

/** The workspaces that agents keep. */
export const workspacesMigration: Migration = {
  id: 14,
  name: 'workspaces',
  isBreaking: false,
  statements: (s) => [
    `create table ${s}.workspaces (
       workspace_key text primary key,
       name text not null,
       definition jsonb not null,
       changed_by text not null,
       changed_at timestamptz not null default now()
     )`,
  ],
};
