import type { LeaseAgent } from '@drover/lease-agent';
import { messageOf, systemClock, type Logger } from '@drover/lease-kit';
import {
  createBusyWatch,
  createCleanUp,
  createDiskWatch,
  createForeignLoad,
  parseBusyWindow,
  presenceProbes,
  type CareReason,
  type CleanUp,
  type DiskWatch,
} from '@drover/machine-care';
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { AgentConfig } from './agent-config.ts';
import { cleanUpPlaces } from './clean-up-places.ts';
import { freeMinFrom } from './free-min.ts';
import type { AgentHerd } from './herd/compose-herd.ts';

/** The file by which a person tells the agent of a state folder that the machine is needed. */
export const busyFileOf = (config: AgentConfig): string => join(resolve(config.state.dir), 'busy');

/** Who is told how a machine is, and knows what of its folders is in use. */
export interface CareDeps {
  readonly agent: Pick<LeaseAgent, 'setBusy' | 'setUnhealthy' | 'attemptFolders'>;
  /** Absent: the agent is not in the herd. */
  readonly herd?: Pick<AgentHerd, 'isJobFolder'> | undefined;
  readonly logger: Logger;
}

/**
 * Keeps an agent's machine fit, and the agent away from one that is not fit or not free: looks at its disks, at who else needs
 * it, and removes what nobody needs, until disposed of. Resolves after the first look, so that the agent starts in the right
 * condition.
 */
export async function careForMachine(config: AgentConfig, { agent, herd, logger }: CareDeps): Promise<AsyncDisposable> {
  await using parts = new AsyncDisposableStack();
  const windows = config.busy.windows.map(parseBusyWindow);
  const state = resolve(config.state.dir);
  mkdirSync(state, { recursive: true });
  const cleanUp = parts.use(
    createCleanUp({ places: cleanUpPlaces(config, agent, herd), everyMs: config.cleanup.interval }, { logger }),
  );
  const disks = parts.use(watchDisks(config, agent, cleanUp, logger));
  const { idle } = config;
  const load = idle.load_max === undefined ? {} : { loadMax: idle.load_max / 100 };
  const busy = parts.use(
    createBusyWatch(
      {
        file: busyFileOf(config),
        windows,
        ...(idle.enabled ? { idle: { afterMs: idle.after, ...load } } : {}),
      },
      {
        report: (reason) => agent.setBusy(reason !== undefined, reason),
        logger,
        ...(idle.enabled ? { presence: presenceProbes({ clock: systemClock }), load: createForeignLoad() } : {}),
      },
    ),
  );
  await Promise.all([disks.start(), busy.start()]);
  cleanUp.start();
  return parts.move();
}

function watchDisks(config: AgentConfig, agent: CareDeps['agent'], cleanUp: CleanUp, logger: Logger): DiskWatch {
  const freeMin = freeMinFrom(config.disk.free_min);
  const folders = [
    { name: 'state folder', path: resolve(config.state.dir), freeMin },
    ...config.disk.folders.map((path) => ({ name: 'folder', path: resolve(path), freeMin })),
  ];
  let problem: CareReason | undefined;
  const disks: DiskWatch = createDiskWatch(
    { folders, everyMs: config.disk.interval },
    {
      logger,
      report(next) {
        problem = next;
        agent.setUnhealthy(next);
        if (next?.code !== 'DISK_SPACE_LOW') return;
        const enough = async (): Promise<boolean> => {
          await disks.look();
          return problem === undefined;
        };
        cleanUp.run({ enough }).catch((error: unknown) => logger.warn({ err: error }, messageOf(error)));
      },
    },
  );
  return disks;
}
