import type { Clock, ScheduledCall } from '@drover/lease-kit';
import type { ProcessCgroup } from './process-cgroup.ts';
import type { ProcessRequest } from './process-request.ts';
import type { ProcessEnd } from './process-result.ts';
import type { ProcessSpool } from './process-spool.ts';
import { readProportionalBytes, type ProcessTable } from './process-table.ts';
import type { ProcessTree } from './process-tree.ts';

/** What a watch looks at, and whom it tells. */
export interface ProcessWatchDeps {
  readonly clock: Clock;
  readonly spool: ProcessSpool;
  readonly tree: ProcessTree;
  readonly cgroup: ProcessCgroup | undefined;
  /** The table of this moment, shared between the watches of one runner; undefined where there is none. */
  readonly readTable: (() => ProcessTable) | undefined;
  /** Called once, with the limit that was passed. */
  readonly onLimit: (end: ProcessEnd) => void;
}

/** The limits of one run, looked after until {@link ProcessWatch.stop}. */
export interface ProcessWatch {
  stop(): void;
  /** The largest memory seen; undefined when it was never sampled. */
  memoryBytesPeak(): number | undefined;
}

/**
 * Looks at a run every `pollMs`: at its output (size cap, idle limit, full disk), at its memory, and at its tree, so
 * that descendants are remembered even when their parents go. The execution limit has a timer of its own.
 */
export function watchProcess(
  request: ProcessRequest,
  logSizeBytesMax: number,
  pollMs: number,
  deps: ProcessWatchDeps,
): ProcessWatch {
  const { clock, spool, tree, cgroup, readTable } = deps;
  let stopped = false;
  let memoryPeak: number | undefined;
  let lastSize = spool.startBytes;
  let lastGrowthMs = clock.monotonicMs();
  let nextLook: ScheduledCall | undefined;
  let deadline: ScheduledCall | undefined;

  const stop = () => {
    stopped = true;
    nextLook?.cancel();
    deadline?.cancel();
  };
  const tell = (end: ProcessEnd) => {
    if (stopped) return;
    stop();
    deps.onLimit(end);
  };

  function memoryEnd(): ProcessEnd | undefined {
    if (readTable === undefined || cgroup?.limitsMemory === true) return undefined;
    const table = readTable();
    const members = tree.alive('shallow', table);
    if (request.memoryBytesMax === undefined) return undefined;
    const resident = members.reduce((sum, { pid }) => sum + (table.get(pid)?.residentBytes ?? 0), 0);
    // Resident sizes count shared pages once a process. Only when they pass the limit is the dearer, fair sum taken.
    const fair = () =>
      members.reduce((sum, { pid }) => sum + (readProportionalBytes(pid) ?? table.get(pid)?.residentBytes ?? 0), 0);
    const observedBytes = resident <= request.memoryBytesMax ? resident : fair();
    memoryPeak = Math.max(memoryPeak ?? 0, observedBytes);
    if (observedBytes <= request.memoryBytesMax) return undefined;
    return { kind: 'out-of-memory', evidence: 'sampled', memoryBytesMax: request.memoryBytesMax, observedBytes };
  }

  function outputEnd(): ProcessEnd | undefined {
    const size = spool.sizeBytes();
    const nowMs = clock.monotonicMs();
    if (size - spool.startBytes > logSizeBytesMax) return { kind: 'output-limit', logSizeBytesMax };
    if (size !== lastSize) [lastSize, lastGrowthMs] = [size, nowMs];
    if (spool.isFileSystemFull()) {
      return {
        kind: 'output-failed',
        code: 'PROCESS_SPOOL_FULL',
        message: `No space is left for ${request.spoolPath}`,
      };
    }
    const idleMs = request.idleTimeoutMs;
    return idleMs !== undefined && nowMs - lastGrowthMs >= idleMs
      ? { kind: 'timed-out', limit: 'idle', timeoutMs: idleMs }
      : undefined;
  }

  function look(): void {
    const end = outputEnd() ?? memoryEnd();
    if (end !== undefined) return tell(end);
    nextLook = clock.schedule(pollMs, look);
  }

  if (request.timeoutMs !== undefined) scheduleDeadline(request.timeoutMs);
  function scheduleDeadline(timeoutMs: number): void {
    // A timer of Node takes at most 2^31-1 ms; a longer limit is waited for in pieces.
    const piece = Math.min(timeoutMs, 2 ** 31 - 1);
    deadline = clock.schedule(piece, () =>
      piece < timeoutMs
        ? scheduleDeadline(timeoutMs - piece)
        : tell({ kind: 'timed-out', limit: 'execution', timeoutMs: request.timeoutMs ?? timeoutMs }),
    );
  }
  nextLook = clock.schedule(pollMs, look);
  return { stop, memoryBytesPeak: () => memoryPeak };
}
