export { file_drover_upgrade_v1_upgrade, UpgradeSchema } from './gen/drover/upgrade/v1/upgrade_pb.ts';
