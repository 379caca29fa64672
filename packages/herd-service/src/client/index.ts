export {
  createHerdConnector,
  type HerdConnectorDeps,
  type HerdConnectorOptions,
  type HerdTlsSource,
} from './connector/create-herd-connector.ts';
export { FileDigests } from './file-digests.ts';
export { herdJobBounds, type HerdJob, type JobInput, type JobOutput, type JobTask } from './job-file/herd-job.ts';
export { herdJobFileJsonSchema } from './job-file/herd-job-file-schema.ts';
export { readHerdJobFile } from './job-file/read-herd-job-file.ts';
export type {
  AgentResult,
  HerdJobEvent,
  HerdJobResult,
  MissingOutput,
  SavedOutput,
  TaskOutcome,
  TaskResult,
} from './spread/herd-job-result.ts';
export { runHerdJob, type RunHerdJobDeps, type RunHerdJobOptions, type RunningHerdJob } from './spread/run-herd-job.ts';
