import { leasesMigration } from './0001-leases.ts';
import { jobsMigration } from './0002-jobs.ts';
import { conditionReasonsMigration } from './0003-condition-reasons.ts';
import { agentTasksMigration } from './0004-agent-tasks.ts';
import { accessMigration } from './0005-access.ts';
import { poolsMigration } from './0006-pools.ts';
import { enrolmentMigration } from './0007-enrolment.ts';
import { submittersMigration } from './0008-submitters.ts';
import { absenceMigration } from './0009-absence.ts';
import { rolloutsMigration } from './0010-rollouts.ts';
import { leaseSecretsMigration } from './0011-lease-secrets.ts';
import { poolWeightsMigration } from './0012-pool-weights.ts';
import { agentHealthMigration } from './0013-agent-health.ts';
import { workspacesMigration } from './0014-workspaces.ts';
import { compilesMigration } from './0015-compiles.ts';
import type { Migration } from './migration.ts';

/** All migrations, by id. A new one is added at the end. */
export const migrations: readonly Migration[] = [
  leasesMigration,
  jobsMigration,
  conditionReasonsMigration,
  agentTasksMigration,
  accessMigration,
  poolsMigration,
  enrolmentMigration,
  submittersMigration,
  absenceMigration,
  rolloutsMigration,
  leaseSecretsMigration,
  poolWeightsMigration,
  agentHealthMigration,
  workspacesMigration,
  compilesMigration,
];

/** The newest migration that this version knows. */
export const newestMigration = migrations.length;
