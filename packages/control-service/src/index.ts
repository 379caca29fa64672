export { registerAgentHealthService, type AgentHealthServiceDeps } from './agent-health-service.ts';
export { registerAgentTaskService, type AgentTaskServiceDeps } from './agent-task-service.ts';
export type { ControlServiceDeps, ControlServiceOptions } from './control-service-options.ts';
export { registerControlService } from './control-service.ts';
export { registerUpgradeService, type UpgradeServiceDeps } from './upgrade-service.ts';
export { createJobSubmitter, type JobSubmitter, type JobSubmitterDeps, type SubmitContext } from './submit-jobs.ts';
export { registerWorkspaceService, type WorkspaceServiceDeps } from './workspace-service.ts';
