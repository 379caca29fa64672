export { checkLegacyJob, type LegacyJobPlan } from './check-legacy-job.ts';
export { createLegacyConnector, type LegacyConnectorDeps, type LegacyConnectorOptions } from './legacy-connector.ts';
export {
  createLegacyFinder,
  type LegacyFinderDeps,
  type LegacyFinderOptions,
  type LegacyHost,
} from './legacy-finder.ts';
export type { LegacyWaits } from './legacy-connection.ts';
