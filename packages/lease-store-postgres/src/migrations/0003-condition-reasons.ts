import type { Migration } from './migration.ts';

/** Why agents are in the condition that they report. */
export const conditionReasonsMigration: Migration = {
  id: 3,
  name: 'condition reasons',
  isBreaking: false,
  statements: (s) => [`alter table ${s}.agents add column condition_code text, add column condition_message text`],
};
