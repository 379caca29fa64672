import type { Migration } from './migration.ts';

/** Sealed secrets, in the row of the live lease: they go with it. */
export const leaseSecretsMigration: Migration = {
  id: 11,
  name: 'lease-secrets',
  isBreaking: false,
  statements: (s) => [
    `alter table ${s}.leases add column secrets bytea`,
    `alter table ${s}.leases alter column secrets set storage external`,
  ],
};
