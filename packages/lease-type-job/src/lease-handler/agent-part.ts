import { defineAgentPart } from '@drover/lease-kit';
import { jobLeaseType } from '../job-lease-type.ts';
import { createJobHandler, type JobHandlerDeps } from './job-handler.ts';

/** What jobs bring to an agent: the handler of batches of steps. */
export const agentPart = defineAgentPart({
  type: jobLeaseType,
  needs: ['runner', 'content', 'workspaces', 'workspacesRoot'],
  create: (_config, deps: JobHandlerDeps) => ({ handler: createJobHandler(deps) }),
});
