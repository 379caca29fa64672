// `leaseType` is the name by which programs find what a lease type's package has.
export { shutdownLeaseType, shutdownLeaseType as leaseType } from './shutdown-lease-type.ts';
export { shutdownBounds, shutdownRequest, type ShutdownRequest } from './shutdown-bounds.ts';
export {
  file_drover_shutdown_v1_shutdown,
  ShutdownResultSchema,
  ShutdownSchema,
  type Shutdown,
  type ShutdownResult,
} from './gen/drover/shutdown/v1/shutdown_pb.ts';
