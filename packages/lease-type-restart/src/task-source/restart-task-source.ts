import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { isDroverError, type TaskSource } from '@drover/lease-kit';
import { createAgentTaskSource, type AgentTaskPlan, type AgentTaskSourceDeps } from '@drover/task-sources';
import { RestartSchema } from '../gen/drover/restart/v1/restart_pb.ts';
import { restartLeaseType } from '../restart-lease-type.ts';
import { restartRequest } from '../restart-bounds.ts';

/** What the source of restarts works with. */
export type RestartTaskSourceDeps = Omit<AgentTaskSourceDeps, 'plan'>;

/** More than a machine needs that goes down in good order. */
const goingDownLimitMs = 3_600_000;

/**
 * The source of restarts that are wanted of agents: drained first, or forced. One that fails is not repeated by itself: whoever
 * wanted it sees why and decides. Agents that are disabled or in downtime are restarted as well.
 */
export function createRestartTaskSource(deps: RestartTaskSourceDeps): TaskSource {
  return createAgentTaskSource(
    {
      name: restartLeaseType.name,
      assignsWhenDisabled: true,
      assignsInDowntime: true,
      retry: { backoffMs: [], failuresMax: 1 },
      drainReason: 'it is to be restarted',
    },
    { ...deps, plan: ({ payload, agentId }) => planRestart(payload, agentId) },
  );
}

function planRestart(payload: Parameters<typeof anyUnpack>[0], agentId: string): AgentTaskPlan {
  const restart = anyUnpack(payload, RestartSchema);
  if (restart === undefined) {
    return { kind: 'drop', code: 'RESTART_INVALID', message: `a payload of type ${payload.typeUrl} is no restart` };
  }
  try {
    const { backWithinMs } = restartRequest(restart);
    return {
      kind: 'lease',
      lease: {
        name: `restart ${agentId}`.slice(0, 256),
        payload,
        runLimitMs: backWithinMs + goingDownLimitMs,
        cancelGraceMs: restartLeaseType.cancelGraceMs,
        absence: { msMax: backWithinMs, then: 'failed' },
      },
    };
  } catch (error) {
    if (!isDroverError(error)) throw error;
    return { kind: 'drop', code: error.code, message: error.message };
  }
}
