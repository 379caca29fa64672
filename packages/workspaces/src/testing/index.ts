export {
  workspaceProviderCompliance,
  type ComplianceRunner,
  type ExpectedFile,
  type WorkspaceFixture,
} from './workspace-provider-compliance.ts';
