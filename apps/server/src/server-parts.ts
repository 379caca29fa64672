import type { LocalContentStore } from '@drover/content-store';
import type { FleetPolicy } from '@drover/fleet-policy';
import type { Clock, LeaseTypeServerPart, Logger, ServerContribution } from '@drover/lease-kit';
import type { AgentRecord, DroverStore } from '@drover/lease-store';
import { loadServerPart, type LoadedPart } from '@drover/lease-type-loader';
import { serverPart as conform } from '@drover/lease-type-conform/task-source';
import { serverPart as job } from '@drover/lease-type-job/task-source';
import { serverPart as restart } from '@drover/lease-type-restart/task-source';
import { serverPart as shutdown } from '@drover/lease-type-shutdown/task-source';
import { serverPart as upgrade } from '@drover/lease-type-upgrade/task-source';
import type { ServerConfig } from './server-config.ts';

/** What a server offers to the lease types that it loads; each gets those that its part names. docs/extending lists them. */
export interface ServerCollaborators {
  readonly queue: DroverStore['queue'];
  readonly signals: DroverStore['signals'];
  readonly sessions: DroverStore['sessions'];
  readonly agentTasks: DroverStore['agentTasks'];
  readonly agentSettings: DroverStore['agentSettings'];
  readonly rollouts: DroverStore['rollouts'];
  readonly weightOf: FleetPolicy['weightOf'];
  readonly workspaces: DroverStore['workspaces'];
  /** Names of the pools that an agent is in. */
  readonly poolsOf: (agent: AgentRecord) => readonly string[];
  readonly blobs: LocalContentStore;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface BuiltInPart {
  readonly packageName: string;
  readonly part: LeaseTypeServerPart<ServerCollaborators>;
}

/** What a server has without being told, asked in this order and before all others: what keeps machines in order. */
const builtInFirst: readonly BuiltInPart[] = [
  { packageName: '@drover/lease-type-shutdown', part: shutdown },
  { packageName: '@drover/lease-type-restart', part: restart },
  { packageName: '@drover/lease-type-upgrade', part: upgrade },
  { packageName: '@drover/lease-type-conform', part: conform },
];
/** Asked after all others: jobs are the bulk of the work, and must not keep an agent from the rest. */
const builtInLast: readonly BuiltInPart[] = [{ packageName: '@drover/lease-type-job', part: job }];

/**
 * The parts of a server in the order in which their sources are asked: those of configured packages as they are listed,
 * between the built-in ones. Packages are looked for beside the app, then at the working directory `cwd`.
 */
export async function serverParts(config: ServerConfig, cwd: string): Promise<LoadedPart<ServerContribution>[]> {
  const from = [import.meta.dirname, cwd];
  const configured: LoadedPart<ServerContribution>[] = [];
  for (const packageName of config.lease_types) configured.push(await loadServerPart({ packageName, from }));
  return [...builtInFirst, ...configured, ...builtInLast];
}
