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
export { AuditOutbox } from './audit-outbox.ts';
export { registerCompileService, type CompileServiceDeps } from './register-compile-service.ts';
export { SchedulerLink, type SchedulerLinkDeps, type SchedulerLinkOptions } from './scheduler-link.ts';
