export type {
  ExecEnd,
  ExecOutput,
  ExecRequest,
  FileFound,
  FileToPut,
  Sandbox,
  SandboxEnd,
  SandboxExec,
  SandboxStatistics,
} from './sandbox.ts';
export type { Isolation, RecoveredSandbox, SandboxDriver, SandboxSpec } from './sandbox-driver.ts';
export type { ImageEntry, PreparedImage, UnpackedImage } from './sandbox-image.ts';
export { KeptStates } from './kept-states.ts';
export { RootDrives } from './root-drives.ts';
export {
  createSandboxPool,
  type PooledSandbox,
  type SandboxPool,
  type SandboxPoolDeps,
  type SandboxPoolOptions,
  type SandboxUse,
} from './sandbox-pool.ts';
export {
  findCgroupRoot,
  type CgroupBounds,
  type CgroupFigures,
  type CgroupRoot,
  type SandboxCgroup,
} from './sandbox-cgroup.ts';
