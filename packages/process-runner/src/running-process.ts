import type { Clock, Logger } from '@drover/lease-kit';
import type { ChildProcess } from 'node:child_process';
import { ftruncateSync } from 'node:fs';
import type { ProcessCgroup } from './process-cgroup.ts';
import { kernelSaysOutOfMemory, readMachineOomKills } from './kernel-oom.ts';
import type { ProcessRequest } from './process-request.ts';
import type { ProcessEnd, ProcessResult } from './process-result.ts';
import type { ProcessSpool } from './process-spool.ts';
import type { ProcessTable } from './process-table.ts';
import { endProcessTree, type ProcessTree } from './process-tree.ts';
import { watchProcess } from './process-watch.ts';

/** A run that was started, or was tried. */
export interface RunningProcess {
  readonly key: string;
  /** Of the first process; undefined when it could not be started. */
  readonly pid: number | undefined;
  /** See `ProcessIdentity.startTime`; undefined when it could not be started or there is no `/proc`. */
  readonly startTime: number | undefined;
  /** The spool's size before this run: the offset of its first byte of output. */
  readonly spoolStartBytes: number;
  /** Fulfilled when the whole tree is gone and the spool holds its last byte; never rejects. */
  readonly result: Promise<ProcessResult>;
  /** Ends the tree: SIGTERM, the grace period, SIGKILL. Only the first cause counts; harmless after the end. */
  cancel(reason: string): void;
}

/** A child that has just been spawned, with everything that is known of it. */
export interface SpawnedProcess {
  readonly request: ProcessRequest;
  readonly child: ChildProcess;
  readonly startTime: number | undefined;
  readonly spool: ProcessSpool;
  readonly tree: ProcessTree;
  readonly cgroup: ProcessCgroup | undefined;
  readonly startedMs: number;
}

/** The collaborators of {@link followProcess}. */
export interface FollowProcessDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly pollMs: number;
  readonly killWaitMs: number;
  readonly logSizeBytesMax: number;
  readonly readTable: (() => ProcessTable) | undefined;
  /** Called when the run is over, before its result is told. */
  readonly onEnd: (treeGone: boolean) => void;
}

/**
 * Follows a child to its end and turns what happened into one result.
 *
 * ```
 * running ──first process ends──▶ stragglers: TERM, grace, KILL ──▶ gone: result
 *    └─limit, cancel──▶ ending: TERM, grace, KILL, all at once ──────┘
 * ```
 */
export function followProcess(spawned: SpawnedProcess, deps: FollowProcessDeps, signal: AbortSignal): RunningProcess {
  const { request, child, spool, tree, cgroup, startedMs } = spawned;
  const { clock, logger } = deps;
  const oomKillsBefore = readMachineOomKills();
  let cause: ProcessEnd | undefined;
  let exit: ProcessResult['exit'];
  let finishing: Promise<ProcessResult> | undefined;
  const done = Promise.withResolvers<ProcessResult>();

  const watch = watchProcess(request, deps.logSizeBytesMax, deps.pollMs, {
    clock,
    spool,
    tree,
    cgroup,
    readTable: deps.readTable,
    onLimit: end,
  });
  const cancel = (reason: string) => end({ kind: 'cancelled', reason });
  const onAbort = () => cancel(textOf(signal.reason));

  child.once('exit', (exitCode, exitSignal) => {
    exit = exitSignal === null ? { exitCode: exitCode ?? 0 } : { signal: exitSignal };
    start();
  });
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();

  function end(why: ProcessEnd): void {
    if (cause !== undefined || exit !== undefined) return;
    cause = why;
    start();
  }

  function start(): void {
    if (finishing !== undefined) return;
    watch.stop();
    signal.removeEventListener('abort', onAbort);
    finishing = finish();
    finishing.then(done.resolve, (error: unknown) => {
      // Nothing foreseen leads here; a result is owed all the same, or the slot would never be free again.
      logger.error({ err: error, key: request.key }, 'the end of a process could not be followed');
      deps.onEnd(false);
      done.resolve(resultOf({ kind: 'cancelled', reason: String(error) }, 0, false));
    });
  }

  async function finish(): Promise<ProcessResult> {
    const stragglers = exit === undefined ? 0 : tree.alive('deep').length;
    const treeGone = await endProcessTree(tree, { clock, graceMs: request.cancelGraceMs, killWaitMs: deps.killWaitMs });
    // The table shows the end of the first process before Node has heard of it.
    if (treeGone && exit === undefined) await new Promise((resolve) => child.once('exit', resolve));
    const told = cause ?? endFromExit();
    const over = spool.sizeBytes() - spool.startBytes > deps.logSizeBytesMax;
    if (over && treeGone) ftruncateSync(spool.fd, spool.startBytes + deps.logSizeBytesMax);
    const ended: ProcessEnd =
      over && cause === undefined ? { kind: 'output-limit', logSizeBytesMax: deps.logSizeBytesMax } : told;
    if (!treeGone) logger.error({ key: request.key, pid: child.pid }, 'processes withstood SIGKILL');
    const result = resultOf(ended, stragglers, treeGone);
    spool.close();
    deps.onEnd(treeGone);
    return result;
  }

  function endFromExit(): ProcessEnd {
    if (exit === undefined) return { kind: 'cancelled', reason: 'the process did not end' };
    const failed = 'signal' in exit || exit.exitCode !== 0;
    const limit = request.memoryBytesMax === undefined ? {} : { memoryBytesMax: request.memoryBytesMax };
    if (failed && (cgroup?.oomKills() ?? 0) > 0) return { kind: 'out-of-memory', evidence: 'cgroup', ...limit };
    if ('exitCode' in exit) return { kind: 'exited', exitCode: exit.exitCode };
    const now = readMachineOomKills();
    const machineOomKills = now === undefined || oomKillsBefore === undefined ? undefined : now - oomKillsBefore;
    if (exit.signal === 'SIGKILL' && machineOomKills !== 0) {
      const pids = new Set(tree.seen().map(({ pid }) => pid));
      if (child.pid !== undefined) pids.add(child.pid);
      const sinceBoot = ((spawned.startTime ?? 0) / 100) * 1e6;
      if (kernelSaysOutOfMemory(pids, sinceBoot)) return { kind: 'out-of-memory', evidence: 'kernel-log', ...limit };
    }
    return { kind: 'signalled', signal: exit.signal, ...(machineOomKills === undefined ? {} : { machineOomKills }) };
  }

  function resultOf(ended: ProcessEnd, stragglers: number, treeGone: boolean): ProcessResult {
    const memoryBytesPeak = watch.memoryBytesPeak();
    return {
      ...ended,
      durationMs: clock.monotonicMs() - startedMs,
      spoolSizeBytes: spool.sizeBytes(),
      stragglers,
      treeGone,
      ...(exit === undefined ? {} : { exit }),
      ...(memoryBytesPeak === undefined ? {} : { memoryBytesPeak }),
    };
  }

  return {
    key: request.key,
    pid: child.pid,
    startTime: spawned.startTime,
    spoolStartBytes: spool.startBytes,
    result: done.promise,
    cancel,
  };
}

/** What an abort signal says: the message of its reason, where that has one. */
function textOf(reason: unknown): string {
  const message: unknown = (reason as { readonly message?: unknown } | undefined)?.message;
  return typeof message === 'string' ? message : String(reason);
}
