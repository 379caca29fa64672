export {
  machineProcesses,
  type AgentProcess,
  type AgentProcesses,
  type ProcessEnd,
  type ProcessName,
} from './agent-process.ts';
export { machineFiles, type DurableFiles } from './durable-files.ts';
export { supervise, type SuperviseDeps, type SuperviseOptions, type SuperviseTiming } from './supervise.ts';
export {
  installFirstVersion,
  openSupervisedHome,
  type SupervisedHome,
  type SupervisedHomeOptions,
} from './supervised-home.ts';
export { SupervisorError } from './supervisor-error.ts';
export type { SwitchReason, SwitchRecord, SwitchWish } from './switch-record.ts';
export type { UnpackVersion, VersionId, VersionRecord } from './version-folders.ts';
