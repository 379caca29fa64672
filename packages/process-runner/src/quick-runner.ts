import { DroverError, silentLogger, systemClock, type Clock, type Logger } from '@drover/lease-kit';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createDirectSpawner } from './direct-spawner.ts';
import { OutputFiles } from './output-file.ts';
import type { ProcessSpawner } from './process-spawner.ts';
import { openQuickJournal } from './quick-journal.ts';
import { endQuickLeftovers } from './quick-leftovers.ts';
import { followQuickRun, type QuickRequest, type QuickRun } from './quick-run.ts';
import { hasProcessTable } from './process-table.ts';
import { findSpawnHelperInterpreter, SpawnHelper } from './spawn-helper.ts';
import { takeStateDir } from './state-dir.ts';
import { StraySweep } from './stray-sweep.ts';

/** Data of {@link createQuickRunner}. */
export interface QuickRunnerOptions {
  /** A folder on a local disk that outlives the agent, for the journal. One runner at a time owns it. */
  readonly stateDir: string;
  /** The most runs at once; default 1,024. */
  readonly processesMax?: number;
  /** How often long runs are looked at for the size of their output, in milliseconds; default 250. */
  readonly pollMs?: number;
  /** How long to go on with SIGKILL before a process counts as stuck in the kernel; default 10,000. */
  readonly killWaitMs?: number;
  /**
   * Who forks: a small helper process where there is an interpreter for it, or this process. Default `helper`, which falls
   * back to `direct`.
   */
  readonly spawner?: 'helper' | 'direct';
}

/** Behaviour of {@link createQuickRunner}. */
export interface QuickRunnerDeps {
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Default: silent. */
  readonly logger?: Logger;
}

/**
 * Runs process trees of which there may be thousands, each of a millisecond: no file is made or flushed for one, and nobody
 * reads the table of processes for one that ends by itself. What leaves its process group is found by its marker within
 * about a second of the end of its run, or by {@link QuickRunner.settle}.
 */
export interface QuickRunner extends AsyncDisposable {
  /** Who forks. */
  readonly spawner: 'helper' | 'direct';
  /**
   * Starts a process; what is wrong with the program is a result of kind `could-not-start`. Throws `PROCESS_KEY_IN_USE`,
   * `PROCESS_TOO_MANY`, `PROCESS_RUNNER_STOPPED`, `PROCESS_SPOOL_UNWRITABLE`.
   */
  start(request: QuickRequest): QuickRun;
  /** Makes a FIFO for this user alone. Throws what the file system says. */
  makeFifo(path: string): Promise<void>;
  /** Ends everything that runs whose keys begin so have left behind. Call it before what they used is removed. */
  settle(keyPrefix: string): Promise<void>;
  /** The output folder is needed no more: its files are closed. */
  closeOutputs(outputDir: string): void;
  /**
   * Ends what earlier runners of this state folder left, with `graceMs` (default 0) between SIGTERM and SIGKILL. Gives how
   * many processes that were. Throws `PROCESS_NOT_GONE`, and the signal's reason on abort.
   */
  endLeftovers(signal: AbortSignal, graceMs?: number): Promise<number>;
  /** Cancels every run, waits for their ends and gives the state folder back. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Creates a runner and takes its state folder. Throws `PROCESS_STATE_DIR_IN_USE` while another live process has it, and the
 * file system's error when the folder cannot be made.
 */
export function createQuickRunner(options: QuickRunnerOptions, deps: QuickRunnerDeps = {}): QuickRunner {
  const { clock = systemClock, logger = silentLogger } = deps;
  const { processesMax = 1_024, pollMs = 250, killWaitMs = 10_000 } = options;
  const state = takeStateDir(options.stateDir);
  const journal = openQuickJournal(join(options.stateDir, 'quick.journal'));
  const interpreter = options.spawner === 'direct' ? undefined : findSpawnHelperInterpreter();
  const spawner: ProcessSpawner =
    interpreter === undefined
      ? createDirectSpawner()
      : new SpawnHelper(interpreter, { logger, runnerId: state.runnerId });
  const running = new Map<string, QuickRun>();
  const outputs = new Map<string, OutputFiles>();
  const sweep = new StraySweep({
    clock,
    logger,
    killWaitMs,
    runnerId: state.runnerId,
    isRunning: (key) => running.has(key),
  });
  let stopping: Promise<void> | undefined;

  function outputsOf(dir: string): OutputFiles {
    const known = outputs.get(dir);
    if (known) return known;
    if (!existsSync(dir)) mkdirSync(dir, { recursive: true, mode: 0o700 });
    const made = new OutputFiles(dir);
    outputs.set(dir, made);
    return made;
  }

  function check(request: QuickRequest): void {
    if (stopping !== undefined) {
      throw new DroverError({
        code: 'PROCESS_RUNNER_STOPPED',
        advice: 'unavailable',
        message: 'The process runner has stopped',
      });
    }
    if (running.has(request.key)) {
      const message = `The process ${request.key} runs already`;
      throw new DroverError({ code: 'PROCESS_KEY_IN_USE', advice: 'conflict', message });
    }
    if (running.size >= processesMax) {
      const message = `${processesMax} processes run already, which is the most that this runner takes`;
      throw new DroverError({ code: 'PROCESS_TOO_MANY', advice: 'exhausted', message, details: { processesMax } });
    }
  }

  function start(request: QuickRequest): QuickRun {
    check(request);
    const files = outputsOf(request.outputDir);
    const output = takeOutput(files, request.outputDir);
    const run = followQuickRun(request, {
      clock,
      logger,
      pollMs,
      killWaitMs,
      runnerId: state.runnerId,
      spawner,
      output,
      onStart(pid, startTime) {
        if (startTime > 0) journal.append({ key: request.key, pid, startTime });
      },
      onEnd() {
        running.delete(request.key);
        files.giveBack(output);
        journal.keep(() =>
          [...running.values()].flatMap(({ key, identity }) => (identity === undefined ? [] : [{ key, ...identity }])),
        );
        if (hasTable) sweep.ended();
      },
    });
    running.set(request.key, run);
    return run;
  }

  async function stop(): Promise<void> {
    for (const run of running.values()) run.cancel('the process runner stops');
    await Promise.all([...running.values()].map(({ result }) => result));
    if (hasTable) await sweep.settle('');
    sweep.stop();
    await spawner[Symbol.asyncDispose]();
    for (const files of outputs.values()) files.close();
    journal.close();
    state.release();
  }

  const stopOnce = () => (stopping ??= stop());
  return {
    spawner: interpreter === undefined ? 'direct' : 'helper',
    start,
    makeFifo: (path) => spawner.makeFifo(path),
    settle: (keyPrefix) => (hasTable ? sweep.settle(keyPrefix) : Promise.resolve()),
    closeOutputs(outputDir) {
      outputs.get(outputDir)?.close();
      outputs.delete(outputDir);
    },
    async endLeftovers(signal, graceMs = 0) {
      signal.throwIfAborted();
      if (!hasTable) return 0;
      const from = { entries: journal.earlier, runnerId: state.runnerId, isRunning: (key: string) => running.has(key) };
      const ended = await endQuickLeftovers(from, { clock, graceMs, killWaitMs, signal });
      journal.forgetEarlier();
      return ended;
    },
    stop: stopOnce,
    [Symbol.asyncDispose]: stopOnce,
  };
}

const hasTable = hasProcessTable();

function takeOutput(files: OutputFiles, dir: string): ReturnType<OutputFiles['take']> {
  try {
    return files.take();
  } catch (error) {
    throw new DroverError({
      code: 'PROCESS_SPOOL_UNWRITABLE',
      advice: 'unavailable',
      message: `The output of a process cannot be written in ${dir}: ${(error as Error).message}`,
      cause: error,
    });
  }
}
