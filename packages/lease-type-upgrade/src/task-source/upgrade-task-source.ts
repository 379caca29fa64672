import { fromBinary } from '@bufbuild/protobuf';
import { bundleProperty } from '@drover/agent-rollouts';
import type { AgentView, Clock, Logger, TaskSource } from '@drover/lease-kit';
import type { AgentTaskStore, OpenAgentTask, RolloutStore, SettledAgentTask, StoreSignals } from '@drover/lease-store';
import { createAgentTaskSource, upgradeSourceName, type AgentTaskPlan } from '@drover/task-sources';
import { UpgradeSchema } from '../gen/drover/upgrade/v1/upgrade_pb.ts';
import { upgradeLeaseType } from '../upgrade-lease-type.ts';

/** What the source of upgrades works with. */
export interface UpgradeTaskSourceDeps {
  readonly agentTasks: AgentTaskStore;
  readonly rollouts: RolloutStore;
  readonly signals: StoreSignals;
  /** Told how each upgrade ended. */
  readonly settled?: (task: SettledAgentTask) => void;
  /** Default: that of the process. */
  readonly clock?: Clock;
  readonly logger?: Logger;
}

const principal = { kind: 'service', id: 'task-source:upgrade' } as const;

/**
 * Makes the source of upgrades: it drains an agent that a roll-out has come to and gives it an exclusive lease when it is idle.
 * In a scheduled downtime too, when nothing else is disturbed. A roll-out is looked up once more before anything of it begins:
 * one that was halted or replaced meanwhile gets no further agent.
 */
export function createUpgradeTaskSource(deps: UpgradeTaskSourceDeps): TaskSource {
  const { settled, clock, logger } = deps;
  return createAgentTaskSource(
    {
      name: upgradeSourceName,
      assignsInDowntime: true,
      drainReason: 'it is to be upgraded',
      // The roll-out decides who is tried again.
      retry: { backoffMs: [60_000], failuresMax: 1 },
      principal,
    },
    {
      agentTasks: deps.agentTasks,
      signals: deps.signals,
      plan: (task, agent) => planUpgrade(task, agent, deps.rollouts),
      ...(settled === undefined ? {} : { settled }),
      ...(clock === undefined ? {} : { clock }),
      ...(logger === undefined ? {} : { logger }),
    },
  );
}

async function planUpgrade(task: OpenAgentTask, agent: AgentView, rollouts: RolloutStore): Promise<AgentTaskPlan> {
  const upgrade = fromBinary(UpgradeSchema, task.payload.value);
  const rollout = await rollouts.rollout(upgrade.channel, { principal });
  if (rollout?.rolloutId !== upgrade.rolloutId) {
    return { kind: 'drop', code: 'ROLLOUT_REPLACED', message: 'another roll-out of its channel has begun' };
  }
  if (rollout.state === 'halted') return { kind: 'wait' };
  const hash = upgrade.bundle?.hash ?? '';
  if (agent.properties.get(bundleProperty)?.includes(hash) === true) {
    return { kind: 'drop', code: 'UPGRADE_DONE', message: `the agent runs ${upgrade.version} already` };
  }
  const { runLimitMs, cancelGraceMs, absence } = upgradeLeaseType;
  return {
    kind: 'lease',
    lease: {
      name: `upgrade to ${upgrade.version}`,
      payload: task.payload,
      runLimitMs,
      cancelGraceMs,
      ...(absence === undefined ? {} : { absence }),
    },
  };
}
