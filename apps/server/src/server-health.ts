import { create } from '@bufbuild/protobuf';
import { anyPack, durationFromMs, type Any } from '@bufbuild/protobuf/wkt';
import type { QuarantineMax } from '@drover/agent-health';
import type { FleetPolicy } from '@drover/fleet-policy';
import { createCanarySource, createHealthKeeper, type HealthKeeper } from '@drover/health-keeper';
import type { Logger, TaskSource } from '@drover/lease-kit';
import type { AgentRecord, DroverStore } from '@drover/lease-store';
import { BatchSchema } from '@drover/lease-type-job';
import type { ServerConfig } from './server-config.ts';

/** What a server does about agents that fail what succeeds elsewhere. */
export interface ServerHealth {
  readonly source: TaskSource;
  readonly keeper: HealthKeeper;
}

/** What works together in it. */
export interface ServerHealthDeps {
  readonly store: DroverStore;
  readonly policy: FleetPolicy;
  readonly logger: Logger;
}

/** A batch that writes a file, reads it again and gives it back: folders, processes and the way of outputs. */
const builtIn = {
  windows: { exe: 'cmd', arguments: ['/d', '/c', 'echo canary> canary.txt && type canary.txt'] },
  other: {
    exe: '/bin/sh',
    arguments: ['-c', 'echo canary > canary.txt && test "$(cat canary.txt)" = canary'],
  },
};

/** Health as configured: the source of canaries, and the keeper, which does nothing until it is started. */
export function createServerHealth(
  { health }: Pick<ServerConfig, 'health'>,
  { store, policy, logger }: ServerHealthDeps,
): ServerHealth {
  const { agentTasks, signals } = store;
  const { timeout, retry } = health.canary;
  const source = createCanarySource({ agentTasks, signals, logger }, { runLimitMs: timeout });
  const keeper = createHealthKeeper(
    { store, policy, logger, canary: (agent) => canaryOf(agent, health.canary) },
    { everyMs: health.interval, max: quarantineMaxOf(health.quarantine_max), rules: { canaryBackoffMs: retry } },
  );
  return { source, keeper };
}

function canaryOf(agent: AgentRecord, { exe, arguments: args, timeout }: ServerConfig['health']['canary']): Any {
  const os = agent.description.properties.find(({ key }) => key.toLowerCase() === 'os')?.value.toLowerCase() ?? '';
  const own = os.startsWith('win') ? builtIn.windows : builtIn.other;
  const step = exe === undefined ? own : { exe, arguments: args };
  const batch = create(BatchSchema, {
    name: 'canary',
    steps: [{ name: 'canary', ...step }],
    ...(exe === undefined ? { outputs: [{ path: 'canary.txt', required: true }] } : {}),
    runLimit: durationFromMs(timeout),
  });
  return anyPack(BatchSchema, batch);
}

function quarantineMaxOf(text: string): QuarantineMax {
  const number = Number.parseInt(text, 10);
  return text.endsWith('%') ? { kind: 'share', share: number / 100 } : { kind: 'count', count: number };
}
