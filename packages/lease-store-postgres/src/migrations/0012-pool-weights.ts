import type { Migration } from './migration.ts';

/** Weights of submitters within a pool; null means that there are none. */
export const poolWeightsMigration: Migration = {
  id: 12,
  name: 'pool-weights',
  // A server of the version before lets all submitters take turns alike; what it replaces keeps the weights.
  isBreaking: false,
  statements: (s) => [`alter table ${s}.pools add column weights jsonb`],
};
