import { defineLeaseType } from '@drover/lease-kit';
import { UpgradeResultSchema, UpgradeSchema } from './gen/drover/upgrade/v1/upgrade_pb.ts';

/** How long a new version has to prove healthy where the lease says nothing. */
export const healthyWithinMsDefault = 120_000;

/**
 * The lease type of an agent's upgrade. It is not retried: a build that failed once fails everywhere, and the roll-out decides
 * who is next. The agent is away while the supervisor switches, and once more if that goes back; one that stays away longer has
 * failed.
 */
export const upgradeLeaseType = defineLeaseType({
  name: 'upgrade',
  payload: UpgradeSchema,
  output: UpgradeResultSchema,
  retry: { attemptsMax: 1, after: [], onFailedWork: false, backoffMs: 0 },
  runLimitMs: 3 * 3_600_000,
  cancelGraceMs: 30_000,
  cutOff: 'go-on',
  absence: { msMax: 2 * 3_600_000, then: 'failed' },
});
