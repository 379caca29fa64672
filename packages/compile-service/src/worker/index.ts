export {
  sandboxHandlers,
  validateWorkerConfig,
  workerConfigSchema,
  type CacheTierConfig,
  type WorkerConfig,
} from './worker-config-schema.ts';
export {
  defaultWorkerConfig,
  defaultWorkerConfigPath,
  loadWorkerConfig,
  workerConfigWarnings,
} from './worker-config.ts';
export {
  CompileWorker,
  type CompileInFlight,
  type CompileWorkerDeps,
  type CompileWorkerOptions,
  type WorkerImages,
} from './compile-worker.ts';
