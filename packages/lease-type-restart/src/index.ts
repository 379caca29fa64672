// `leaseType` is the name by which programs find what a lease type's package has.
export { restartLeaseType, restartLeaseType as leaseType } from './restart-lease-type.ts';
export { restartBounds, restartRequest, type RestartRequest } from './restart-bounds.ts';
export {
  file_drover_restart_v1_restart,
  RestartResultSchema,
  RestartSchema,
  type Restart,
  type RestartResult,
} from './gen/drover/restart/v1/restart_pb.ts';
