import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Principal } from '@drover/lease-kit';
import type { AddTasksSchema, BeginJobSchema, RunJobResponse } from './gen/drover/herd/v1/herd_service_pb.ts';

/** How much of this machine the herd may use now. */
export interface HerdStanding {
  readonly slotsTotal: number;
  readonly slotsFree: number;
  /** False: no new jobs are taken, since the agent drains, is disabled or its user needs the machine. */
  readonly open: boolean;
}

/** Runs herd jobs on this machine, whichever wire they come by. */
export interface HerdJobRunner {
  standing(): HerdStanding;
  /** Calls `listener` after each change of {@link standing}. Answers how to stop. At most 64 listeners. */
  onChange(listener: () => void): () => void;
  /**
   * Makes the job's folder and puts its inputs there. Throws `HERD_CLOSED`, `HERD_JOBS_TOO_MANY`, `HERD_JOB_EXISTS`,
   * `HERD_JOB_INVALID`, `BLOB_NOT_FOUND`, `HERD_DISK_FULL`; an abort throws the signal's reason and leaves nothing.
   */
  begin(
    job: MessageInitShape<typeof BeginJobSchema>,
    context: HerdCallContext,
    options?: BeginOptions,
  ): Promise<HerdJobSession>;
  /** A job of this principal that runs or has just ended; throws `HERD_JOB_UNKNOWN`, also for another's. */
  find(jobId: string, context: HerdCallContext): HerdJobSession;
}

/** On whose behalf something is done, and until when. */
export interface HerdCallContext {
  readonly principal: Principal;
  readonly signal: AbortSignal;
}

/** What differs for jobs of the original protocol. */
export interface BeginOptions {
  /** Where progress pipes are made, by their names; absent: in the job's own folder. */
  readonly pipesFolder?: string | undefined;
  /** False: it is cancelled as soon as nobody reads its responses, with no grace. Default true. */
  readonly resumable?: boolean | undefined;
  /** True: items of progress pipes come as they were written (`TaskItem.raw`), also those of unknown tags. Default false. */
  readonly rawItems?: boolean | undefined;
  /**
   * True: the job is charged once, with one slot as soon as one is free, and all its tasks then start together, as the original
   * does; the first credits are for as many tasks as a job may have. Default false: a slot for each task.
   */
  readonly together?: boolean | undefined;
  /** True: a backslash or a drive's letter in a path is a character like others. Default false: such paths are refused. */
  readonly plainNames?: boolean | undefined;
}

/** A job on this machine. Tasks start in the order in which they were added, each when a slot is free. */
export interface HerdJobSession {
  readonly jobId: string;
  /** The job's own folder, absolute. */
  readonly folder: string;
  /** Adds tasks; throws `HERD_TASK_INVALID` for one that is wrong, `HERD_TASKS_TOO_MANY` beyond the credits, and adds none then. */
  add(tasks: MessageInitShape<typeof AddTasksSchema>): void;
  /** Ends these tasks, or all; returns at once. */
  cancel(tasks?: readonly string[]): void;
  /** No more tasks follow. */
  finish(): void;
  /**
   * What happened after a sequence, then what happens, to `job_ended`. One reader at a time: a new one ends the one before.
   * While nobody reads, the grace runs. What a reader does not take is kept up to a bound; items of pipes beyond it are dropped and counted.
   */
  responses(afterSequence: bigint, signal: AbortSignal): AsyncIterable<RunJobResponse>;
  /** Responses up to here are not asked for again. */
  acknowledge(sequence: bigint): void;
}
