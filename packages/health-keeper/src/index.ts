export { createCanarySource, type CanarySourceOptions } from './canary-source.ts';
export {
  createHealthKeeper,
  type HealthKeeper,
  type HealthKeeperDeps,
  type HealthKeeperOptions,
} from './health-keeper.ts';
