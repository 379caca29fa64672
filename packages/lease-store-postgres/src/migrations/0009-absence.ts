import type { Migration } from './migration.ts';

/**
 * What leases grant beyond their run limit, agents that are away, and drains.
 *
 * `terms` holds what few leases have, in one column that is null for all others: `{"absence": …, "timeouts": …}` as in
 * `LeaseDraft`. No index mentions it. Only a lease with a limit of its own has an entry in `leases_expiring`.
 */
export const absenceMigration: Migration = {
  id: 9,
  name: 'absence',
  isBreaking: true,
  statements: (s) => [
    `alter table ${s}.leases
       add column terms jsonb,
       add column going_down_at timestamptz,
       add column expires_at timestamptz,
       add column cancel_code text`,
    `create index leases_expiring on ${s}.leases (expires_at) where expires_at is not null`,
    // Since when an agent without a session was not heard of.
    `alter table ${s}.agents
       add column away_since timestamptz,
       add column drain_source text,
       add column drain_reason text,
       add column drained_until timestamptz`,
  ],
};
