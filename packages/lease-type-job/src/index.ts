export { jobBounds } from './bounds.ts';
export { confinedPath, pathText, type ConfinedPath } from '@drover/job-text';
export { checkJob, findJobFaults, type JobFault, type JobPath } from './check-job.ts';
export { jobFileJsonSchema, type JobFile, type JobFileBatch, type JobFileInput } from './job-file/job-file-schema.ts';
export { jobFromFile, type ResolvedSource, type ResolveInput } from './job-file/job-from-file.ts';
export { parseJobFile, type ParsedJobFile, type ParseJobFileOptions } from './job-file/parse-job-file.ts';
// `leaseType` and `submission` are the names by which `drover submit` finds what a lease type's package has.
export { jobLeaseType, jobLeaseType as leaseType, jobPayloadType } from './job-lease-type.ts';
export {
  file_drover_job_v1_job,
  JobSchema,
  JobSchema as submission,
  BatchSchema,
  RequirementsSchema,
  RetryPolicySchema,
  InputSchema,
  FileInputSchema,
  GitInputSchema,
  OutputRuleSchema,
  StepSchema,
  BatchResultSchema,
  StepResultSchema,
  OutputSchema,
  StepEnd,
  StepEndSchema,
  type Job,
  type Batch,
  type Requirements,
  type RetryPolicy,
  type Input,
  type FileInput,
  type GitInput,
  type OutputRule,
  type Step,
  type BatchResult,
  type StepResult,
  type Output,
} from './gen/drover/job/v1/job_pb.ts';
