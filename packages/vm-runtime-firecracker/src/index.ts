export {
  createFirecrackerDriver,
  type FirecrackerDriverDeps,
  type FirecrackerDriverOptions,
} from './firecracker-driver.ts';
export type { DriveRate, TokenBucket } from './firecracker-api.ts';
