export {
  workspaceProviderCompliance,
  type ComplianceRunner,
  type ExpectedFile,
  type WorkspaceFixture,
} from './workspace-provider-compliance.ts';
export {
  workspaceSyncCompliance,
  type WorkspaceSyncFixture,
  type WorkspaceSyncRunner,
} from './workspace-sync-compliance.ts';
