export {
  createHerdJobRunner,
  type HerdJobHost,
  type HerdJobRunnerDeps,
  type HerdJobRunnerOptions,
  type HerdJobView,
} from './create-herd-job-runner.ts';
export { defaultHerdLimits, type HerdLimits } from './herd-limits.ts';
export type { HerdContent } from './place-inputs.ts';
export { registerHerdService, type HerdAgentName, type HerdServiceDeps } from './register-herd-service.ts';
