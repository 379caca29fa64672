export { readBusyFile, removeBusyFile, writeBusyFile, type BusyWish } from './busy-file.ts';
export { createBusyWatch, type BusyWatch, type BusyWatchDeps, type BusyWatchOptions } from './busy-watch.ts';
export { parseBusyWindow, type BusyWindow } from './busy-windows.ts';
export type { CareReason } from './care-reason.ts';
export {
  createCleanUp,
  type CleanedPlace,
  type CleanUp,
  type CleanUpDeps,
  type CleanUpOptions,
  type CleanUpPlace,
} from './clean-up.ts';
export {
  createDiskWatch,
  type DiskRoom,
  type DiskWatch,
  type DiskWatchDeps,
  type DiskWatchOptions,
  type FreeMin,
  type WatchedFolder,
} from './disk-watch.ts';
export { createForeignLoad, type ForeignLoad } from './foreign-load.ts';
export type { PresenceProbe } from './presence-probe.ts';
export { presenceProbes, type PresenceProbeDeps } from './presence-probes.ts';
