export { RolloutConductor, type RolloutConductorDeps, type RolloutConductorOptions } from './rollout-conductor.ts';
export { serverPart, type UpgradeServerDeps } from './server-part.ts';
export { createUpgradeTaskSource, type UpgradeTaskSourceDeps } from './upgrade-task-source.ts';
