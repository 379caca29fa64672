import {
  silentLogger,
  silentMeter,
  systemClock,
  type Clock,
  type Logger,
  type Principal,
  type TaskSource,
} from '@drover/lease-kit';
import { openPolicy, type FleetPolicy } from '@drover/fleet-policy';
import { LeaseMetrics } from './lease-metrics.ts';
import type { LeaseServerDeps, LeaseServerLimits, LeaseServerTiming } from './lease-server-options.ts';
import { ProgressRelay } from './progress-relay.ts';
import { WriteBatcher } from './write-batcher.ts';

/** What the pieces of one server share. */
export interface ServerParts {
  readonly serverId: string;
  /** On whose behalf the server itself calls the store. */
  readonly principal: Principal;
  readonly limits: LeaseServerLimits;
  readonly timing: LeaseServerTiming;
  readonly policy: FleetPolicy;
  readonly store: LeaseServerDeps['store'];
  readonly sources: ReadonlyMap<string, TaskSource>;
  readonly authorizeAgent: LeaseServerDeps['authorizeAgent'];
  readonly admission: LeaseServerDeps['admission'];
  readonly judge: LeaseServerDeps['judge'];
  readonly blobs: LeaseServerDeps['blobs'];
  readonly secrets: LeaseServerDeps['secrets'];
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly metrics: LeaseMetrics;
  readonly writes: WriteBatcher;
  readonly progress: ProgressRelay;
}

/** Puts the shared pieces together. */
export function serverParts(
  serverId: string,
  limits: LeaseServerLimits,
  timing: LeaseServerTiming,
  deps: LeaseServerDeps,
): ServerParts {
  const clock = deps.clock ?? systemClock;
  const random = deps.random ?? Math.random;
  const logger = (deps.logger ?? silentLogger).child({ serverId });
  const principal: Principal = { kind: 'service', id: `lease-server:${serverId}` };
  const { store } = deps;
  const sources = new Map(deps.sources.map((source) => [source.name, source]));
  return {
    serverId,
    principal,
    limits,
    timing,
    policy: deps.policy ?? openPolicy,
    store,
    sources,
    authorizeAgent: deps.authorizeAgent,
    admission: deps.admission,
    judge: deps.judge,
    blobs: deps.blobs,
    secrets: deps.secrets,
    clock,
    random,
    logger,
    metrics: new LeaseMetrics(deps.meter ?? silentMeter, sources),
    writes: new WriteBatcher(
      { ...timing, pendingWritesMax: limits.pendingWritesMax, principal },
      { attempts: store.attempts, clock, random, logger },
    ),
    progress: new ProgressRelay(timing.progressMs, { ...store, clock, logger, principal }),
  };
}
