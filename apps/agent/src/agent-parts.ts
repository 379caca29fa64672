import type { SupervisedHome } from '@drover/agent-supervisor';
import type { ContentStore } from '@drover/content-store';
import type { AgentContribution, Clock, LeaseTypeAgentPart, Logger } from '@drover/lease-kit';
import { agentPart as conform } from '@drover/lease-type-conform/lease-handler';
import { agentPart as job } from '@drover/lease-type-job/lease-handler';
import { agentPart as restart } from '@drover/lease-type-restart/lease-handler';
import { agentPart as shutdown } from '@drover/lease-type-shutdown/lease-handler';
import { loadAgentPart, type LoadedPart } from '@drover/lease-type-loader';
import type { ProcessRunner } from '@drover/process-runner';
import type { WorkspaceProvider, WorkspaceSyncProvider } from '@drover/workspaces';
import type { AgentConfig } from './agent-config.ts';

/** What an agent offers to the lease types that it loads; each gets those that its part names. docs/extending lists them. */
export interface AgentCollaborators {
  readonly content: ContentStore;
  readonly runner: ProcessRunner;
  readonly workspaces: readonly WorkspaceProvider[];
  /** What keeps long-lived workspaces, one of each kind. */
  readonly workspaceSyncs: readonly WorkspaceSyncProvider[];
  /** The folder of the long-lived workspaces of the machine. */
  readonly workspacesRoot: string;
  /** A folder of this lease type alone, which outlives the process. It is made for those that name it. */
  readonly stateDir: string;
  /** Of an agent that runs under drover-supervisor. */
  readonly supervisor?: SupervisedHome;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface BuiltInPart {
  readonly packageName: string;
  readonly part: LeaseTypeAgentPart<AgentCollaborators>;
}

/** What an agent can do without being told. */
const builtIn: readonly BuiltInPart[] = [
  { packageName: '@drover/lease-type-job', part: job },
  { packageName: '@drover/lease-type-restart', part: restart },
  { packageName: '@drover/lease-type-shutdown', part: shutdown },
  { packageName: '@drover/lease-type-conform', part: conform },
];

/**
 * The parts of an agent: the built-in ones, then those of the configured packages, which are looked for beside the app, then
 * at the working directory `cwd`.
 */
export async function agentParts(config: AgentConfig, cwd: string): Promise<LoadedPart<AgentContribution>[]> {
  const from = [import.meta.dirname, cwd];
  const configured: LoadedPart<AgentContribution>[] = [];
  for (const packageName of config.lease_types) configured.push(await loadAgentPart({ packageName, from }));
  return [...builtIn, ...configured];
}
