import type { Clock, Logger, ScheduledCall } from '@drover/lease-kit';
import { keyFromMarker, markerOf, readMarkers } from './process-marker.ts';
import { readProcessTable } from './process-table.ts';
import { createProcTree, endProcessTree } from './process-tree.ts';

/** Who works together in a {@link StraySweep}. */
export interface StraySweepDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly killWaitMs: number;
  readonly runnerId: string;
  readonly isRunning: (key: string) => boolean;
}

const delayMs = 1_000;

/**
 * Finds processes that left the group of their run and outlived it, by the marker that they inherited, and ends them: one look
 * at the machine for all runs that ended within a second.
 */
export class StraySweep {
  readonly #deps: StraySweepDeps;
  #timer: ScheduledCall | undefined;
  #stopped = false;

  constructor(deps: StraySweepDeps) {
    this.#deps = deps;
  }

  /** A run has ended: the next look is due. */
  ended(): void {
    if (this.#timer !== undefined || this.#stopped) return;
    this.#timer = this.#deps.clock.schedule(delayMs, () => {
      this.#timer = undefined;
      void this.#endStrays('');
    });
  }

  /** Looks now; resolves when what ended runs with such keys left is gone. */
  settle(keyPrefix: string): Promise<void> {
    return this.#endStrays(keyPrefix);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #endStrays(keyPrefix: string): Promise<void> {
    const { clock, logger, killWaitMs, runnerId, isRunning } = this.#deps;
    for (const key of findMarkedKeys(runnerId)) {
      if (!key.startsWith(keyPrefix) || isRunning(key) || key === spawnHelperKey) continue;
      logger.warn({ key }, 'a process outlived the run that started it; it is ended');
      const tree = createProcTree({ marker: markerOf(runnerId, key), trustGroup: false });
      await endProcessTree(tree, { clock, graceMs: 0, killWaitMs });
    }
  }
}

/** The key by which the helper itself is marked. */
export const spawnHelperKey = 'spawn-helper';

/** Keys in the markers of all live processes that runs of this state folder started. */
export function findMarkedKeys(runnerId: string): Set<string> {
  const keys = new Set<string>();
  for (const pid of readProcessTable().keys()) {
    if (pid === process.pid) continue;
    for (const marker of readMarkers(pid)) {
      const key = keyFromMarker(marker, runnerId);
      if (key !== undefined) keys.add(key);
    }
  }
  return keys;
}
