import type { Clock, Logger, ScheduledCall } from '@drover/lease-kit';
import { kernelSaysOutOfMemory } from './kernel-oom.ts';
import type { OutputFile } from './output-file.ts';
import { markerOf, markerValue, processKeyVariable } from './process-marker.ts';
import type { ProcessEnd } from './process-result.ts';
import type { ProcessSpawner } from './process-spawner.ts';
import type { ProcessIdentity } from './process-table.ts';
import { createGroupTree, createProcTree, endProcessTree, type ProcessTree } from './process-tree.ts';

/** One process of a quick runner. */
export interface QuickRequest {
  /** Names the run in this state folder, 1 to 512 characters; free again when its process group is gone. */
  readonly key: string;
  /** A path, relative to `cwd`, or a name that is looked up on the PATH of `env`. Never a shell line. */
  readonly exe: string;
  readonly args: readonly string[];
  /** The whole environment: nothing of the agent's own is added but `DROVER_PROCESS_KEY`. */
  readonly env: Readonly<Record<string, string>>;
  /** The working directory: an absolute path. */
  readonly cwd: string;
  /** Where files for the output stand, absolute; runs that may see each other's output share one. */
  readonly outputDir: string;
  /** How long the process may run; absent means without limit. */
  readonly timeoutMs?: number | undefined;
  /** How long it has between SIGTERM and SIGKILL; 0 means SIGKILL at once. */
  readonly cancelGraceMs: number;
}

/** How a quick run ended. */
export type QuickEnd =
  | Extract<ProcessEnd, { kind: 'exited' | 'signalled' | 'timed-out' | 'cancelled' | 'could-not-start' }>
  /** The kernel's log names a process of the run among those it ended for want of memory. */
  | { readonly kind: 'out-of-memory' }
  /** Somebody ended the helper that had started it: what became of the process is unknown; its tree is ended. */
  | { readonly kind: 'lost' };

/** The end of a quick run, and what was measured. */
export type QuickResult = QuickEnd & {
  readonly durationMs: number;
  /** The last bytes of its output, at most 16 KiB. */
  readonly outputTail: Uint8Array;
  /** What the system said of the first process; absent when nothing ran or that is unknown. */
  readonly exit?: { readonly exitCode: number } | { readonly signal: NodeJS.Signals };
  /** False when a process of its group withstood SIGKILL. */
  readonly treeGone: boolean;
};

/** A run that was started, or was tried. */
export interface QuickRun {
  readonly key: string;
  /** Undefined before it was started. */
  readonly identity: ProcessIdentity | undefined;
  /** Fulfilled when its process group is gone; never rejects. */
  readonly result: Promise<QuickResult>;
  /** Ends the tree: SIGTERM, the grace period, SIGKILL. Only the first cause counts; harmless after the end. */
  cancel(reason: string): void;
}

/** The collaborators of {@link followQuickRun}. */
export interface QuickRunDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly pollMs: number;
  readonly killWaitMs: number;
  readonly runnerId: string;
  readonly spawner: ProcessSpawner;
  readonly output: OutputFile;
  readonly onStart: (pid: number, startTime: number) => void;
  /** Called when the run is over, before its result is told. */
  readonly onEnd: () => void;
}

const timerMsMax = 2 ** 31 - 1;

/**
 * Starts a process and follows it to its end.
 *
 * ```
 * starting ─▶ running ──first process ends──▶ is its group empty? ──yes──▶ result
 *    │           │                                     └─no──▶ ending: TERM, grace, KILL ──▶ result
 *    │           └──cancel, timeout──▶ ending ─────────────────────────────────────────────▶ result
 *    └──cancel──▶ ending as soon as it is running
 * ```
 */
export function followQuickRun(request: QuickRequest, deps: QuickRunDeps): QuickRun {
  const { clock, logger, output } = deps;
  const startedMs = clock.monotonicMs();
  const done = Promise.withResolvers<QuickResult>();
  const marker = markerOf(deps.runnerId, request.key);
  let identity: ProcessIdentity | undefined;
  let groupPid: number | undefined;
  let tree: ProcessTree | undefined;
  let cause: QuickEnd | undefined;
  let exit: QuickResult['exit'];
  const exited = Promise.withResolvers<void>();
  let deadline: ScheduledCall | undefined;
  let look: ScheduledCall | undefined;
  let isOver = false;
  let ending: Promise<boolean> | undefined;

  const lookLater = (): void => {
    look = clock.schedule(deps.pollMs, () => {
      output.trim();
      lookLater();
    });
  };
  const setDeadline = (leftMs: number): void => {
    // A timer of Node takes at most 2^31-1 ms; a longer limit is waited for in pieces.
    deadline = clock.schedule(Math.min(leftMs, timerMsMax), () =>
      leftMs > timerMsMax
        ? setDeadline(leftMs - timerMsMax)
        : end({ kind: 'timed-out', limit: 'execution', timeoutMs: request.timeoutMs ?? 0 }),
    );
  };
  const endTree = (graceMs: number): Promise<boolean> => {
    if (tree === undefined) return Promise.resolve(true);
    return (ending ??= endProcessTree(tree, { clock, graceMs, killWaitMs: deps.killWaitMs }));
  };
  const finish = (told: QuickEnd, treeGone = true): void => {
    if (isOver) return;
    isOver = true;
    deadline?.cancel();
    look?.cancel();
    const { tail } = output.take();
    if (!treeGone) logger.error({ key: request.key, pid: groupPid }, 'processes withstood SIGKILL');
    deps.onEnd();
    done.resolve({
      ...told,
      durationMs: clock.monotonicMs() - startedMs,
      outputTail: tail,
      treeGone,
      ...(exit === undefined ? {} : { exit }),
    });
  };
  const finishWhenGone = async (told: QuickEnd, graceMs: number): Promise<void> => {
    try {
      const gone = await endTree(graceMs);
      // The table shows the end of the first process before its exit is told.
      if (gone && exit === undefined && told.kind !== 'lost') await exited.promise;
      finish(told, gone);
    } catch (error) {
      logger.error({ err: error, key: request.key }, 'the end of a process could not be followed');
      finish(told, false);
    }
  };
  const end = (why: QuickEnd): void => {
    if (cause !== undefined || exit !== undefined || isOver) return;
    cause = why;
    deadline?.cancel();
    if (tree !== undefined) void finishWhenGone(why, request.cancelGraceMs);
  };
  const endFromExit = (): QuickEnd => {
    if (exit === undefined || 'exitCode' in exit) return { kind: 'exited', exitCode: exit?.exitCode ?? 0 };
    if (exit.signal === 'SIGKILL' && identity !== undefined) {
      const pids = new Set([identity.pid, ...(tree?.seen() ?? []).map(({ pid }) => pid)]);
      if (kernelSaysOutOfMemory(pids, (identity.startTime / 100) * 1e6)) return { kind: 'out-of-memory' };
    }
    return { kind: 'signalled', signal: exit.signal };
  };

  if (request.timeoutMs !== undefined) setDeadline(request.timeoutMs);
  lookLater();
  deps.spawner.start(
    {
      exe: request.exe,
      args: request.args,
      env: { ...request.env, [processKeyVariable]: markerValue(marker, process.env[processKeyVariable]) },
      cwd: request.cwd,
      outputPath: output.path,
    },
    {
      onStart(pid, startTime) {
        groupPid = pid;
        if (startTime > 0) identity = { pid, startTime };
        tree =
          identity === undefined ? createGroupTree(pid) : createProcTree({ root: identity, marker, trustGroup: true });
        deps.onStart(pid, startTime);
        if (cause !== undefined) void finishWhenGone(cause, request.cancelGraceMs);
      },
      onEnd(how) {
        exit = how;
        exited.resolve();
        if (cause !== undefined) return;
        const told = endFromExit();
        if (groupPid !== undefined && isGroupThere(groupPid)) void finishWhenGone(told, request.cancelGraceMs);
        else finish(told);
      },
      onFailure: ({ code, message }) => finish(cause ?? { kind: 'could-not-start', code, message }),
      onLost: () => void finishWhenGone(cause ?? { kind: 'lost' }, 0),
    },
  );

  return {
    key: request.key,
    get identity() {
      return identity;
    },
    result: done.promise,
    cancel: (reason) => end({ kind: 'cancelled', reason }),
  };
}

/** True while a process is in the group: one that the first process left behind. */
function isGroupThere(pid: number): boolean {
  try {
    process.kill(-pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
