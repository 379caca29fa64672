import type { BlobPins } from '@drover/content-store';
import { defineServerPart, type Clock, type Logger } from '@drover/lease-kit';
import type { DroverStore } from '@drover/lease-store';
import { upgradeLeaseType } from '../upgrade-lease-type.ts';
import { RolloutConductor } from './rollout-conductor.ts';
import { createUpgradeTaskSource } from './upgrade-task-source.ts';

/** What upgrades work with on a server. */
export interface UpgradeServerDeps extends Pick<
  DroverStore,
  'rollouts' | 'sessions' | 'agentTasks' | 'agentSettings' | 'signals'
> {
  readonly blobs: BlobPins;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What upgrades bring to a server: their source, and a conductor that carries roll-outs forward. */
export const serverPart = defineServerPart({
  type: upgradeLeaseType,
  needs: ['rollouts', 'sessions', 'agentTasks', 'agentSettings', 'signals', 'blobs', 'clock', 'logger'],
  create: (_config, deps: UpgradeServerDeps) => {
    const { clock, logger, blobs } = deps;
    const conductor = new RolloutConductor({ store: deps, blobs, clock, logger });
    const source = createUpgradeTaskSource({ ...deps, settled: () => conductor.wake() });
    conductor.start();
    return {
      source,
      // Whoever may submit jobs must not choose what agents run: that is the roll-outs' alone.
      reserved: [upgradeLeaseType.payload.typeName],
      [Symbol.asyncDispose]: () => conductor[Symbol.asyncDispose](),
    };
  },
});
