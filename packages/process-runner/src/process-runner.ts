import { DroverError, messageOf, silentLogger, systemClock, type Clock, type Logger } from '@drover/lease-kit';
import type { ChildProcess } from 'node:child_process';
import { basename, join } from 'node:path';
import { createProcessCgroup, detectCgroupParent, type ProcessCgroup } from './process-cgroup.ts';
import { keyDigest, openProcessJournal, type JournalEntry } from './process-journal.ts';
import { endLeftovers, findLeftovers, type Leftover } from './process-leftovers.ts';
import { markerOf } from './process-marker.ts';
import { checkProcessRequest, defaultLogSizeBytesMax, findCwdFailure, type ProcessRequest } from './process-request.ts';
import { openProcessSpool } from './process-spool.ts';
import { hasProcessTable, readBootId, readProcessRow, readProcessTable, type ProcessTable } from './process-table.ts';
import { createGroupTree, createProcTree, endProcessTree } from './process-tree.ts';
import { moveEarlyChildren, moveIn, SpawnRefused, spawnChild } from './spawn-child.ts';
import { failedStart, failedStartLater } from './failed-start.ts';
import { followProcess, type RunningProcess } from './running-process.ts';
import { takeStateDir } from './state-dir.ts';

/** Data of {@link createProcessRunner}. */
export interface ProcessRunnerOptions {
  /** A folder on a local disk that outlives the agent, for the journal. One runner at a time owns it. */
  readonly stateDir: string;
  /** The most runs at once; default 256. */
  readonly processesMax?: number;
  /** How often a run is looked at, in milliseconds; default 250. Limits are noticed with this delay. */
  readonly pollMs?: number;
  /** How long to go on with SIGKILL before a process counts as stuck in the kernel; default 10000. */
  readonly killWaitMs?: number;
  /** A writable cgroup v2 folder for the groups of the processes, `auto` (default) to look for one, `none` for none. */
  readonly cgroupParent?: string;
  /** How trees are followed: `auto` (default) through `/proc` where there is one, or only by their process group. */
  readonly tracking?: 'auto' | 'process-group';
}

/** Behaviour of {@link createProcessRunner}. */
export interface ProcessRunnerDeps {
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Default: silent. */
  readonly logger?: Logger;
}

/** What this machine lets a runner do, found out when it was created. */
export interface ProcessRunnerCapabilities {
  /**
   * How far a tree is followed. `cgroup`: nothing escapes. `proc`: by parents, group, session and marker. `process-group`
   * (no Linux `/proc`): what leaves the group escapes.
   */
  readonly tree: 'cgroup' | 'proc' | 'process-group';
  /** Who enforces a memory limit: the kernel, samples every `pollMs`, or nobody. */
  readonly memory: 'cgroup' | 'sampled' | 'none';
  /** True when what a killed agent left can be told from others' processes, and ended. */
  readonly leftovers: boolean;
  /** Where groups are made; absent without cgroups. */
  readonly cgroupParent?: string;
}

/** Runs process trees, and ends what earlier runs of the agent left. */
export interface ProcessRunner extends AsyncDisposable {
  readonly capabilities: ProcessRunnerCapabilities;
  /**
   * Starts a process. What is wrong with the program (not found, not executable, bad `cwd`) is a result of kind
   * `could-not-start`; what is wrong with the request or the machine is thrown: `PROCESS_REQUEST_INVALID`,
   * `PROCESS_KEY_IN_USE`, `PROCESS_HAS_LEFTOVERS`, `PROCESS_TOO_MANY`, `PROCESS_SPOOL_FULL`, `PROCESS_SPOOL_UNWRITABLE`,
   * `PROCESS_JOURNAL_UNWRITABLE`, `PROCESS_MEMORY_LIMIT_UNSUPPORTED`, `PROCESS_RUNNER_STOPPED`. An abort before the start
   * throws the signal's reason; one after it cancels the run.
   */
  start(request: ProcessRequest, signal: AbortSignal): Promise<RunningProcess>;
  /** What earlier runners of this state folder left, alive or ended meanwhile. Abort throws the signal's reason. */
  findLeftovers(signal: AbortSignal): Promise<Leftover[]>;
  /**
   * Ends the tree of a leftover with `graceMs` (default 5000) between SIGTERM and SIGKILL, proves it gone and forgets it;
   * see {@link Leftover}. Gives how many processes were ended. Throws `PROCESS_STILL_RUNNING`, `PROCESS_NOT_GONE`,
   * `PROCESS_IDENTITY_UNKNOWN`, or the signal's reason on abort.
   */
  endLeftovers(key: string, signal: AbortSignal, graceMs?: number): Promise<number>;
  /** Cancels every run, waits for their ends and gives the state folder back. Idempotent. */
  stop(): Promise<void>;
}

/** The table is read once for all runs that look within this span. */
const tableAgeMsMax = 50;

/**
 * Creates a runner and takes its state folder. Throws `PROCESS_STATE_DIR_IN_USE` while another live process has it, and
 * the file system's error when the folder cannot be made.
 */
export function createProcessRunner(options: ProcessRunnerOptions, deps: ProcessRunnerDeps = {}): ProcessRunner {
  const { clock = systemClock, logger = silentLogger } = deps;
  const { processesMax = 256, pollMs = 250, killWaitMs = 10_000 } = options;
  const state = takeStateDir(options.stateDir);
  const journal = openProcessJournal(join(options.stateDir, 'processes'));
  const hasTable = options.tracking !== 'process-group' && hasProcessTable();
  const cgroups = hasTable ? detectCgroupParent(options.cgroupParent ?? 'auto') : undefined;
  const running = new Map<string, RunningProcess | undefined>();
  let stopping: Promise<void> | undefined;
  let table: { readonly rows: ProcessTable; readonly atMs: number } | undefined;

  const readTable = (): ProcessTable => {
    const nowMs = clock.monotonicMs();
    if (table === undefined || nowMs - table.atMs > tableAgeMsMax) table = { rows: readProcessTable(), atMs: nowMs };
    return table.rows;
  };
  const leftoversDeps = {
    journal,
    runnerId: state.runnerId,
    clock,
    killWaitMs,
    hasProcessTable: hasTable,
    isRunning: (key: string) => running.has(key),
  };

  async function start(request: ProcessRequest, signal: AbortSignal): Promise<RunningProcess> {
    signal.throwIfAborted();
    checkProcessRequest(request);
    checkStart(request);
    running.set(request.key, undefined);
    try {
      const failure = await findCwdFailure(request.cwd);
      signal.throwIfAborted();
      if (stopping !== undefined) throw stoppedError();
      const started = failure === undefined ? startChild(request, signal) : failedStart(request, failure);
      running.set(request.key, started);
      void started.result.then(() => running.delete(request.key));
      return started;
    } catch (error) {
      running.delete(request.key);
      throw error;
    }
  }

  function checkStart(request: ProcessRequest): void {
    if (stopping !== undefined) throw stoppedError();
    const conflict = (code: string, message: string) => new DroverError({ code, advice: 'conflict', message });
    if (running.has(request.key)) throw conflict('PROCESS_KEY_IN_USE', `The process ${request.key} runs already`);
    if (journal.read(request.key) !== undefined) {
      const message = `An earlier run of ${request.key} has not been ended: call endLeftovers first`;
      throw conflict('PROCESS_HAS_LEFTOVERS', message);
    }
    if (running.size >= processesMax) {
      const message = `${processesMax} processes run already, which is the most that this runner takes`;
      throw new DroverError({ code: 'PROCESS_TOO_MANY', advice: 'exhausted', message, details: { processesMax } });
    }
    if (request.memoryBytesMax !== undefined && !hasTable) {
      const message =
        'memoryBytesMax must be absent on this platform: neither cgroups nor /proc are there to enforce it';
      throw new DroverError({ code: 'PROCESS_MEMORY_LIMIT_UNSUPPORTED', advice: 'fix-input', message });
    }
  }

  /** Without a pause from the first journal entry to the second: a kill in between leaves an entry and a marked process. */
  function startChild(request: ProcessRequest, signal: AbortSignal): RunningProcess {
    const spool = openProcessSpool(request.spoolPath);
    const entry: JournalEntry = {
      key: request.key,
      bootId: readBootId(),
      pid: undefined,
      startTime: undefined,
      cgroupDir: cgroups && join(cgroups.dir, `drover-${state.runnerId.slice(0, 12)}-${keyDigest(request.key)}`),
      spoolPath: request.spoolPath,
      startedAtMs: clock.wallMs(),
    };
    let cgroup: ProcessCgroup | undefined;
    let spawned: { child: ChildProcess; startTime: number | undefined } | undefined;
    const abandon = () => {
      spool.close();
      cgroup?.remove();
      journal.remove(request.key);
    };
    try {
      journal.write(entry);
      cgroup = makeCgroup(entry.cgroupDir, request);
      const child = spawnChild(request, spool, markerOf(state.runnerId, request.key));
      const { pid } = child;
      if (pid === undefined) {
        const outcome = failedStartLater(request, child, spool.startBytes);
        abandon();
        return outcome;
      }
      // The row is there even if the child has ended: nobody has waited for it before Node's loop turns.
      const startTime = hasTable ? readProcessRow(pid)?.startTime : undefined;
      spawned = { child, startTime };
      if (cgroup !== undefined && !moveIn(cgroup, pid)) {
        logger.warn({ key: request.key, dir: cgroup.dir }, 'a process could not be moved into its cgroup');
        cgroup = undefined;
      }
      journal.write({ ...entry, pid, startTime });
      if (cgroup !== undefined) moveEarlyChildren(cgroup, pid);
    } catch (error) {
      if (spawned?.child.pid !== undefined) endUnrecorded(spawned.child.pid, spawned.startTime, request.key);
      abandon();
      if (error instanceof SpawnRefused) return failedStart(request, error.failure);
      throw error;
    }
    const { child, startTime } = spawned;
    const marker = markerOf(state.runnerId, request.key);
    const tree =
      startTime === undefined
        ? createGroupTree(child.pid!)
        : createProcTree({ root: { pid: child.pid!, startTime }, marker, trustGroup: true, ...(cgroup && { cgroup }) });
    return followProcess(
      { request, child, startTime, spool, tree, cgroup, startedMs: clock.monotonicMs() },
      {
        clock,
        logger,
        pollMs,
        killWaitMs,
        logSizeBytesMax: request.logSizeBytesMax ?? defaultLogSizeBytesMax,
        readTable: startTime === undefined ? undefined : readTable,
        onEnd(treeGone) {
          if (!treeGone) return;
          cgroup?.remove();
          journal.remove(request.key);
        },
      },
      signal,
    );
  }

  function makeCgroup(dir: string | undefined, request: ProcessRequest): ProcessCgroup | undefined {
    if (cgroups === undefined || dir === undefined) return undefined;
    try {
      return createProcessCgroup(cgroups, basename(dir), request.memoryBytesMax);
    } catch (error) {
      logger.warn({ key: request.key, err: error }, `no cgroup could be made: ${messageOf(error)}`);
      return undefined;
    }
  }

  /** A child that the journal cannot name must not live: after a crash of the agent only its marker would tell of it. */
  function endUnrecorded(pid: number, startTime: number | undefined, key: string): void {
    const marker = markerOf(state.runnerId, key);
    const tree =
      startTime === undefined
        ? createGroupTree(pid)
        : createProcTree({ root: { pid, startTime }, marker, trustGroup: true });
    void endProcessTree(tree, { clock, graceMs: 0, killWaitMs });
  }

  async function stop(): Promise<void> {
    const runs = [...running.values()].filter((run) => run !== undefined);
    for (const run of runs) run.cancel('the process runner stops');
    await Promise.all(runs.map(({ result }) => result));
    state.release();
  }

  const stopOnce = () => (stopping ??= stop());
  return {
    capabilities: {
      tree: cgroups?.kill === true ? 'cgroup' : hasTable ? 'proc' : 'process-group',
      memory: cgroups?.memory === true ? 'cgroup' : hasTable ? 'sampled' : 'none',
      leftovers: hasTable,
      ...(cgroups === undefined ? {} : { cgroupParent: cgroups.dir }),
    },
    start,
    async findLeftovers(signal) {
      signal.throwIfAborted();
      return findLeftovers(leftoversDeps);
    },
    endLeftovers: (key, signal, graceMs = 5000) => endLeftovers(key, graceMs, leftoversDeps, signal),
    stop: stopOnce,
    [Symbol.asyncDispose]: stopOnce,
  };
}

const stoppedError = () =>
  new DroverError({ code: 'PROCESS_RUNNER_STOPPED', advice: 'unavailable', message: 'The process runner has stopped' });
