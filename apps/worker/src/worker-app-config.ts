import { defineAppConfig, logConfig } from '@drover/app-config';
import { workerConfigSchema } from '@drover/compile-service/worker';

/** Everything that a worker may be told, by worker.toml, environment (`DROVER_WORKER_…`) or flag. */
export const workerAppConfig = defineAppConfig({
  name: 'drover-worker',
  envPrefix: 'DROVER_WORKER',
  schema: workerConfigSchema.safeExtend({ log: logConfig() }),
});
