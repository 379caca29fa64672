import type { MessageInitShape } from '@bufbuild/protobuf';
import type { DurationSchema } from '@bufbuild/protobuf/wkt';
import { TaskEnd } from '@drover/herd-protocol';
import { isDroverError, messageOf, type Clock } from '@drover/lease-kit';
import type { QuickResult, QuickRun, QuickRunner } from '@drover/process-runner';
import type { PacedItem, ProgressPipe, ProgressPipes } from '@drover/progress-pipes';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { CheckedTask } from './check-job.ts';
import type { JobMessage } from './job-responses.ts';

/** One start of a task. */
export interface TaskRunRequest {
  readonly task: CheckedTask;
  /** Of the process: unique on this machine. */
  readonly key: string;
  readonly jobId: string;
  /** The job's folder. */
  readonly folder: string;
  /** Where the pipe is made. */
  readonly pipesFolder: string;
  /** Items come as they were written. */
  readonly rawItems: boolean;
  readonly outputDir: string;
  /** Of the agent, for every task. */
  readonly env: Readonly<Record<string, string>>;
  readonly cancelGraceMs: number;
}

/** Who works together in a {@link TaskRun}. */
export interface TaskRunDeps {
  readonly processes: QuickRunner;
  readonly pipes: ProgressPipes;
  readonly clock: Clock;
  onStart(): void;
  onItem(item: PacedItem): void;
}

/** What a task's end is told by. */
export type TaskEndedValue = Extract<JobMessage, { case: 'ended' }>['value'];

/** A task whose process runs, or is about to. */
export class TaskRun {
  readonly #request: TaskRunRequest;
  readonly #deps: TaskRunDeps;
  #process: QuickRun | undefined;
  #isCancelled = false;

  constructor(request: TaskRunRequest, deps: TaskRunDeps) {
    this.#request = request;
    this.#deps = deps;
  }

  cancel(): void {
    this.#isCancelled = true;
    this.#process?.cancel('cancelled');
  }

  /** To the end of the process and of its pipe; never rejects. */
  async run(): Promise<TaskEndedValue> {
    const { task } = this.#request;
    const startedMs = this.#deps.clock.monotonicMs();
    let pipe: ProgressPipe | undefined;
    try {
      // Without a pipe nothing is waited for: a short task starts in the turn that it was given its slot.
      if (task.pipe !== undefined) pipe = await this.#openPipe(task.pipe);
      if (this.#isCancelled) return cancelledBefore(task.name);
      this.#process = this.#start(pipe?.path);
      this.#deps.onStart();
      const result = await this.#process.result;
      // What the process wrote last comes before its end.
      await pipe?.end();
      return endedFrom(task.name, result);
    } catch (error) {
      return {
        task: task.name,
        end: TaskEnd.COULD_NOT_START,
        errorCode: isDroverError(error) ? error.code : 'HERD_TASK_NOT_STARTED',
        errorMessage: messageOf(error),
        took: tookFrom(this.#deps.clock.monotonicMs() - startedMs),
      };
    } finally {
      await pipe?.end();
    }
  }

  #openPipe(pipe: NonNullable<CheckedTask['pipe']>): Promise<ProgressPipe> {
    const { pipes, onItem } = this.#deps;
    const { pipesFolder: folder, rawItems: raw } = this.#request;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return pipes.open({ folder, name: pipe.name, kind: pipe.kind, raw }, (item) => onItem(item));
  }

  #start(pipePath: string | undefined): QuickRun {
    const { task, key, jobId, folder, outputDir, env, cancelGraceMs } = this.#request;
    return this.#deps.processes.start({
      key,
      exe: task.exe.kind === 'file' ? join(folder, task.exe.path) : task.exe.path,
      args: pipePath === undefined ? task.args : task.args.map((one) => one.replaceAll('{pipe}', () => pipePath)),
      env: {
        ...env,
        DROVER_HERD_JOB: jobId,
        DROVER_HERD_TASK: task.name,
        ...(pipePath === undefined ? {} : { DROVER_PROGRESS_PIPE: pipePath }),
        ...task.env,
      },
      cwd: task.workingFolder === '.' ? folder : join(folder, task.workingFolder),
      outputDir,
      timeoutMs: task.timeoutMs,
      cancelGraceMs,
    });
  }
}

function tookFrom(ms: number): MessageInitShape<typeof DurationSchema> {
  const micros = Math.round(ms * 1_000);
  return { seconds: BigInt(Math.floor(micros / 1e6)), nanos: (micros % 1e6) * 1_000 };
}

/** The end of a task that was cancelled before it started. */
export function cancelledBefore(task: string): TaskEndedValue {
  return { task, end: TaskEnd.CANCELLED, took: tookFrom(0) };
}

function endedFrom(task: string, result: QuickResult): TaskEndedValue {
  const { exit } = result;
  return {
    task,
    took: tookFrom(result.durationMs),
    logTail: result.outputTail,
    ...(exit !== undefined && 'exitCode' in exit ? { exitCode: exit.exitCode } : {}),
    ...(exit !== undefined && 'signal' in exit ? { signal: exit.signal } : {}),
    ...endOf(result),
  };
}

function endOf(result: QuickResult): { end: TaskEnd; errorCode?: string; errorMessage?: string } {
  switch (result.kind) {
    case 'exited':
      return { end: result.exitCode === 0 ? TaskEnd.SUCCEEDED : TaskEnd.FAILED };
    case 'signalled':
      return { end: TaskEnd.FAILED };
    case 'cancelled':
      return { end: TaskEnd.CANCELLED };
    case 'timed-out': {
      const errorMessage = `The task ran for longer than the ${result.timeoutMs} ms that it may`;
      return { end: TaskEnd.TIMED_OUT, errorCode: 'HERD_TASK_TIMED_OUT', errorMessage };
    }
    case 'out-of-memory': {
      const errorMessage = 'The kernel ended the task, since the machine or its group ran out of memory';
      return { end: TaskEnd.OUT_OF_MEMORY, errorCode: 'HERD_TASK_OUT_OF_MEMORY', errorMessage };
    }
    case 'could-not-start':
      return { end: TaskEnd.COULD_NOT_START, errorCode: result.code, errorMessage: result.message };
    case 'lost': {
      const errorMessage = 'Somebody ended the helper that starts tasks; this one was ended with it';
      return { end: TaskEnd.FAILED, errorCode: 'HERD_TASK_LOST', errorMessage };
    }
  }
}
