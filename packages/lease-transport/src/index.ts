export {
  createLeaseClient,
  defaultMessageSizeMaxBytes,
  type ConnectedLeaseClient,
  type LeaseClientDeps,
  type CallHeaders,
  type LeaseClientOptions,
  type LeaseClientTls,
} from './lease-client.ts';
export { registerLeaseService, type LeaseServiceDeps, type LeaseServiceOptions } from './lease-service.ts';
export type { PollFallbackOptions } from './link-mode.ts';
export { createRotatingLeaseClient, type RotatingLeaseClient } from './rotating-lease-client.ts';
