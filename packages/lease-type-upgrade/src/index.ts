export { bundleProperty, channelProperty } from '@drover/agent-rollouts';
export {
  file_drover_upgrade_v1_upgrade,
  UpgradeResultSchema,
  UpgradeSchema,
  type Upgrade,
  type UpgradeResult,
} from './gen/drover/upgrade/v1/upgrade_pb.ts';
export { healthyWithinMsDefault, upgradeLeaseType } from './upgrade-lease-type.ts';
export { upgradeLeaseType as leaseType } from './upgrade-lease-type.ts';
