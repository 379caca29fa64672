export { jobBounds } from './bounds.ts';
export { checkJob, findJobFaults, pathText, type JobFault, type JobPath } from './check-job.ts';
export { confinedPath, type ConfinedPath } from './confined-path.ts';
export { jobFileJsonSchema, type JobFile, type JobFileBatch, type JobFileInput } from './job-file/job-file-schema.ts';
export { jobFromFile, type ResolvedSource, type ResolveInput } from './job-file/job-from-file.ts';
export { parseJobFile, type ParsedJobFile, type ParseJobFileOptions } from './job-file/parse-job-file.ts';
export { jobLeaseType, jobPayloadType } from './job-lease-type.ts';
export * from './job-messages.ts';
