import { defineAgentPart } from '@drover/lease-kit';
import type { WorkspaceSyncProvider } from '@drover/workspaces';
import { conformLeaseType } from '../conform-lease-type.ts';
import { createConformHandler } from './conform-handler.ts';

/** What conforming works with on an agent. */
export interface ConformAgentDeps {
  /** The folder of all workspaces of the machine. */
  readonly workspacesRoot: string;
  readonly workspaceSyncs: readonly WorkspaceSyncProvider[];
}

/** What conforming brings to an agent: the handler that syncs its workspaces. */
export const agentPart = defineAgentPart({
  type: conformLeaseType,
  needs: ['workspacesRoot', 'workspaceSyncs'],
  create: (_config, { workspacesRoot, workspaceSyncs }: ConformAgentDeps) => ({
    handler: createConformHandler({ root: workspacesRoot }, { providers: workspaceSyncs }),
  }),
});
