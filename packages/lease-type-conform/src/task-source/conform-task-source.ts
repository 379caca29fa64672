import { create } from '@bufbuild/protobuf';
import { anyPack, anyUnpack } from '@bufbuild/protobuf/wkt';
import type { AgentView, TaskSource } from '@drover/lease-kit';
import { workspaceLimits, workspaceSetDigest, type OpenAgentTask, type WorkspaceRecord } from '@drover/lease-store';
import { createAgentTaskSource, type AgentTaskPlan, type AgentTaskSourceDeps } from '@drover/task-sources';
import { conformSourceName } from '../asked-conform.ts';
import { conformLeaseType } from '../conform-lease-type.ts';
import {
  ConformSchema,
  ConformWishSchema,
  WorkspaceRemoval,
  WorkspaceSchema,
} from '../gen/drover/conform/v1/conform_pb.ts';

/** How the source of conforms behaves. */
export interface ConformTaskSourceOptions {
  /** Waits after failures in a row; the last one repeats. */
  readonly backoffMs: readonly number[];
  /** Most agents at once, of all servers. */
  readonly atOnceMax: number;
  readonly removesOthers: boolean;
}

/** What the source of conforms works with. */
export interface ConformTaskSourceDeps extends Omit<AgentTaskSourceDeps, 'plan'> {
  /** The workspaces that an agent of these pools keeps. */
  readonly workspacesOf: (pools: readonly string[]) => readonly WorkspaceRecord[];
  /** The set that a task is for is not that of now. */
  readonly setDiffers: () => void;
}

/** Only a person, or a set that changes, ends it sooner. */
const failuresMax = 1_000;

/** The source of conforms: each agent is drained first, and takes a lease with all of its workspaces. */
export function createConformTaskSource(options: ConformTaskSourceOptions, deps: ConformTaskSourceDeps): TaskSource {
  const { backoffMs, atOnceMax, removesOthers } = options;
  return createAgentTaskSource(
    {
      name: conformSourceName,
      retry: { backoffMs, failuresMax },
      atOnceMax,
      drainReason: 'its workspaces are to be synced',
    },
    { ...deps, plan: (task, agent) => planConform(task, agent, { ...deps, removesOthers }) },
  );
}

function planConform(
  { payload, agentId }: OpenAgentTask,
  { pools }: AgentView,
  { workspacesOf, setDiffers, removesOthers }: ConformTaskSourceDeps & Pick<ConformTaskSourceOptions, 'removesOthers'>,
): AgentTaskPlan {
  const wish = anyUnpack(payload, ConformWishSchema);
  if (wish === undefined) {
    return { kind: 'drop', code: 'CONFORM_INVALID', message: `a payload of type ${payload.typeUrl} is no conform` };
  }
  const workspaces = workspacesOf(pools);
  if (workspaceSetDigest(workspaces) !== wish.setDigest) {
    setDiffers();
    return { kind: 'wait' };
  }
  if (workspaces.length > workspaceLimits.perAgentMax) {
    const message = `the agent is to keep ${workspaces.length} workspaces; at most ${workspaceLimits.perAgentMax} are allowed`;
    return { kind: 'drop', code: 'CONFORM_TOO_MANY_WORKSPACES', message };
  }
  const conform = create(ConformSchema, {
    cause: wish.cause,
    setDigest: wish.setDigest,
    reason: wish.reason,
    removeOthers: removesOthers,
    workspaces: workspaces.map((one) => workspaceOnWire(one, wish.clean)),
  });
  return {
    kind: 'lease',
    lease: {
      name: `conform ${agentId}`.slice(0, 256),
      payload: anyPack(ConformSchema, conform),
      runLimitMs: conformLeaseType.runLimitMs,
      cancelGraceMs: conformLeaseType.cancelGraceMs,
    },
  };
}

function workspaceOnWire({ name, provider, source, revision, folder, ...more }: WorkspaceRecord, clean: boolean) {
  const { submodules, sparse, depth, remove } = more;
  return create(WorkspaceSchema, {
    name,
    provider,
    source,
    revision,
    folder,
    submodules,
    sparse: [...sparse],
    depth,
    removal: clean ? WorkspaceRemoval.UNTRACKED_AND_IGNORED : removals[remove],
  });
}

const removals: Readonly<Record<WorkspaceRecord['remove'], WorkspaceRemoval>> = {
  nothing: WorkspaceRemoval.NOTHING,
  untracked: WorkspaceRemoval.UNTRACKED,
  'untracked-and-ignored': WorkspaceRemoval.UNTRACKED_AND_IGNORED,
};
