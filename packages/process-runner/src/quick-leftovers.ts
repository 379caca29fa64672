import { DroverError, type Clock } from '@drover/lease-kit';
import { markerOf } from './process-marker.ts';
import { createProcTree, endProcessTree } from './process-tree.ts';
import { isProcessAlive } from './process-table.ts';
import type { QuickEntry } from './quick-journal.ts';
import { findMarkedKeys } from './stray-sweep.ts';

/** Where leftovers of quick runs are looked for. */
export interface QuickLeftovers {
  readonly entries: readonly QuickEntry[];
  readonly runnerId: string;
  readonly isRunning: (key: string) => boolean;
}

/** How {@link endQuickLeftovers} goes about it. */
export interface EndQuickLeftoversOptions {
  readonly clock: Clock;
  readonly graceMs: number;
  readonly killWaitMs: number;
  readonly signal: AbortSignal;
}

/**
 * Ends what earlier runners of this state folder left: by journal and by marker, their helper included. Gives how many
 * processes that were. Throws `PROCESS_NOT_GONE`, and the signal's reason on abort.
 */
export async function endQuickLeftovers(from: QuickLeftovers, options: EndQuickLeftoversOptions): Promise<number> {
  const roots = from.entries.filter((entry) => isProcessAlive(entry) && !from.isRunning(entry.key));
  const marked = [...findMarkedKeys(from.runnerId)].filter((key) => !from.isRunning(key));
  const trees = [
    ...roots.map(({ pid, startTime, key }) => ({ root: { pid, startTime }, key })),
    ...marked.filter((key) => !roots.some((root) => root.key === key)).map((key) => ({ key })),
  ];
  let ended = 0;
  for (const { key, ...root } of trees) {
    const tree = createProcTree({ ...root, marker: markerOf(from.runnerId, key), trustGroup: false });
    if (!(await endProcessTree(tree, options))) {
      throw new DroverError({
        code: 'PROCESS_NOT_GONE',
        advice: 'unavailable',
        message: `Processes of ${key} withstood SIGKILL: ${tree
          .alive('deep')
          .map(({ pid }) => pid)
          .join(', ')}`,
      });
    }
    ended += tree.seen().length;
  }
  return ended;
}
