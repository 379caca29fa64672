import { DroverError, type Clock } from '@drover/lease-kit';
import { openProcessCgroup } from './process-cgroup.ts';
import type { JournalEntry, ProcessJournal } from './process-journal.ts';
import { keyFromMarker, markerOf, readMarkers } from './process-marker.ts';
import { readBootId, readProcessTable, type ProcessIdentity } from './process-table.ts';
import { createGroupTree, createProcTree, endProcessTree, type ProcessTree } from './process-tree.ts';

/** A run that an earlier run of the agent started and did not see to its end. */
export interface Leftover {
  readonly key: string;
  /** The processes of its tree that live now; none when it has ended meanwhile, how is unknown then. */
  readonly alive: readonly ProcessIdentity[];
  /** Its output so far; absent when only a marked process told of it. */
  readonly spoolPath?: string;
  /** When it started, wall time in milliseconds since the Unix epoch; absent likewise. */
  readonly startedAtMs?: number;
}

/** Where leftovers are looked for. */
export interface LeftoversDeps {
  readonly journal: ProcessJournal;
  readonly runnerId: string;
  readonly clock: Clock;
  readonly killWaitMs: number;
  readonly hasProcessTable: boolean;
  /** Runs of this very runner, which are nobody's leftovers. */
  readonly isRunning: (key: string) => boolean;
}

/** Finds what earlier runners of this state folder left: by journal, by cgroup, and by the marker of any live process. */
export function findLeftovers(deps: LeftoversDeps): Leftover[] {
  const entries = new Map(deps.journal.list().map((entry) => [entry.key, entry]));
  const keys = new Set([...entries.keys(), ...markedKeys(deps)]);
  return [...keys]
    .filter((key) => !deps.isRunning(key))
    .map((key) => {
      const entry = entries.get(key);
      const alive = leftoverTree(key, entry, deps)?.alive('deep') ?? [];
      return entry === undefined
        ? { key, alive }
        : { key, alive, spoolPath: entry.spoolPath, startedAtMs: entry.startedAtMs };
    });
}

/**
 * Ends the tree of a leftover, looks at the whole machine until no member is found, then forgets it. Resolves with how
 * many processes it ended; 0 for a key that left nothing. Throws `PROCESS_STILL_RUNNING` (`conflict`) for a run of this
 * runner, `PROCESS_NOT_GONE` (`unavailable`) when members withstood SIGKILL, and the signal's reason on abort: the entry
 * stays then, and the call can be made again.
 */
export async function endLeftovers(
  key: string,
  graceMs: number,
  deps: LeftoversDeps,
  signal: AbortSignal,
): Promise<number> {
  signal.throwIfAborted();
  if (deps.isRunning(key)) {
    throw new DroverError({
      code: 'PROCESS_STILL_RUNNING',
      advice: 'conflict',
      message: `The process ${key} is a run of this runner; cancel it instead`,
    });
  }
  const entry = deps.journal.read(key);
  const tree = leftoverTree(key, entry, deps);
  let ended = 0;
  if (tree !== undefined && tree.alive('deep').length > 0) {
    if (!(await endProcessTree(tree, { clock: deps.clock, graceMs, killWaitMs: deps.killWaitMs, signal }))) {
      throw new DroverError({
        code: 'PROCESS_NOT_GONE',
        advice: 'unavailable',
        message: `Processes of ${key} withstood SIGKILL: ${tree
          .alive('deep')
          .map(({ pid }) => pid)
          .join(', ')}`,
      });
    }
    ended = tree.seen().length;
  }
  if (entry?.cgroupDir !== undefined && isThisBoot(entry)) openProcessCgroup(entry.cgroupDir).remove();
  deps.journal.remove(key);
  return ended;
}

const isThisBoot = (entry: JournalEntry) => entry.bootId !== undefined && entry.bootId === readBootId();

/** Undefined when nothing can live: the machine was restarted since, or there never was a pid. */
function leftoverTree(key: string, entry: JournalEntry | undefined, deps: LeftoversDeps): ProcessTree | undefined {
  if (!deps.hasProcessTable) {
    // Without start times only the group's absence can be proven; a group that is there may be another's.
    if (entry?.pid === undefined) return undefined;
    return refuseSignals(createGroupTree(entry.pid), key);
  }
  if (entry !== undefined && !isThisBoot(entry)) return undefined;
  const { pid, startTime, cgroupDir } = entry ?? {};
  return createProcTree({
    marker: markerOf(deps.runnerId, key),
    trustGroup: false,
    ...(pid === undefined || startTime === undefined ? {} : { root: { pid, startTime } }),
    ...(cgroupDir === undefined ? {} : { cgroup: openProcessCgroup(cgroupDir) }),
  });
}

function refuseSignals(tree: ProcessTree, key: string): ProcessTree {
  return {
    ...tree,
    signal() {
      throw new DroverError({
        code: 'PROCESS_IDENTITY_UNKNOWN',
        advice: 'conflict',
        message: `The process group of ${key} exists, and this platform cannot tell whether it is still the same one`,
      });
    },
  };
}

function markedKeys(deps: LeftoversDeps): string[] {
  if (!deps.hasProcessTable) return [];
  return [...readProcessTable().keys()]
    .filter((pid) => pid !== process.pid)
    .flatMap((pid) => readMarkers(pid))
    .map((marker) => keyFromMarker(marker, deps.runnerId))
    .filter((key) => key !== undefined);
}
