import type { Migration } from './migration.ts';

/** Who submitted the leases of a class: leases of one submitter take turns with those of others. */
export const submittersMigration: Migration = {
  id: 8,
  name: 'submitters',
  // A server of the version before makes no difference between submitters; the digest of its classes stays what it was.
  isBreaking: false,
  statements: (s) => [`alter table ${s}.lease_classes add column submitter text not null default ''`],
};
