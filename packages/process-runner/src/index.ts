export { lockFileHolder, tryLockFile, type LockFile } from './lock-file.ts';
export {
  createProcessRunner,
  type ProcessRunner,
  type ProcessRunnerCapabilities,
  type ProcessRunnerDeps,
  type ProcessRunnerOptions,
} from './process-runner.ts';
export type { Leftover } from './process-leftovers.ts';
export { processKeyVariable } from './process-marker.ts';
export { defaultLogSizeBytesMax, type ProcessRequest } from './process-request.ts';
export type { ProcessEnd, ProcessResult, StartFailureCode } from './process-result.ts';
export { isProcessAlive, readBootId, type ProcessIdentity } from './process-table.ts';
export type { RunningProcess } from './running-process.ts';
export { tailSpool, type SpoolChunk, type TailSpoolOptions } from './tail-spool.ts';
export { createQuickRunner, type QuickRunner, type QuickRunnerDeps, type QuickRunnerOptions } from './quick-runner.ts';
export type { QuickRequest, QuickResult, QuickRun } from './quick-run.ts';
