import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { isDroverError, type TaskSource } from '@drover/lease-kit';
import { createAgentTaskSource, type AgentTaskPlan, type AgentTaskSourceDeps } from '@drover/task-sources';
import { ShutdownSchema } from '../gen/drover/shutdown/v1/shutdown_pb.ts';
import { shutdownLeaseType } from '../shutdown-lease-type.ts';
import { shutdownRequest } from '../shutdown-bounds.ts';

/** What the source of shutdowns works with. */
export type ShutdownTaskSourceDeps = Omit<AgentTaskSourceDeps, 'plan'>;

/** More than a machine needs that goes down in good order. */
const goingDownLimitMs = 3_600_000;

/**
 * The source of shutdowns that are wanted of agents: drained first, or forced. One that fails is not repeated by itself: whoever
 * wanted it sees why and decides. Agents that are disabled or in downtime are shut down as well.
 */
export function createShutdownTaskSource(deps: ShutdownTaskSourceDeps): TaskSource {
  return createAgentTaskSource(
    {
      name: shutdownLeaseType.name,
      assignsWhenDisabled: true,
      assignsInDowntime: true,
      retry: { backoffMs: [], failuresMax: 1 },
      drainReason: 'it is to be shut down',
    },
    { ...deps, plan: ({ payload, agentId }) => planShutdown(payload, agentId) },
  );
}

function planShutdown(payload: Parameters<typeof anyUnpack>[0], agentId: string): AgentTaskPlan {
  const shutdown = anyUnpack(payload, ShutdownSchema);
  if (shutdown === undefined) {
    return { kind: 'drop', code: 'SHUTDOWN_INVALID', message: `a payload of type ${payload.typeUrl} is no shutdown` };
  }
  try {
    const { goneAfterMs } = shutdownRequest(shutdown);
    return {
      kind: 'lease',
      lease: {
        name: `shutdown ${agentId}`.slice(0, 256),
        payload,
        runLimitMs: goneAfterMs + goingDownLimitMs,
        cancelGraceMs: shutdownLeaseType.cancelGraceMs,
        absence: { msMax: goneAfterMs, then: 'completed' },
      },
    };
  } catch (error) {
    if (!isDroverError(error)) throw error;
    return { kind: 'drop', code: error.code, message: error.message };
  }
}
