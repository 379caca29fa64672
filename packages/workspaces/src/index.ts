export { withSnapshotFallback } from './snapshot-fallback.ts';
export {
  copyAt,
  createSnapshotWorkspaceProvider,
  defaultSnapshotExcludes,
  type SnapshotWorkspaceOptions,
} from './snapshot-workspace-provider.ts';
export { prepareDestination, removeWorkingCopy } from './workspace-destination.ts';
export {
  claimWorkspaceFolder,
  listWorkspaceFolders,
  removeWorkspaceFolder,
  type ClaimedWorkspaceFolder,
} from './workspace-folder.ts';
export type { WorkspaceCopy, WorkspaceProvider, WorkspaceRequest } from './workspace-provider.ts';
export type {
  WorkspaceRemoval,
  WorkspaceSyncContext,
  WorkspaceSyncProvider,
  WorkspaceSyncReport,
  WorkspaceSyncRequest,
} from './workspace-sync-provider.ts';
