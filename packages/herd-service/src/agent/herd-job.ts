import type { MessageInitShape } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { JobEnd, JobEndSchema, TaskEnd, type AddTasksSchema, type HerdJobSession } from '@drover/herd-protocol';
import { isDroverError, messageOf, principalName, type Principal, type ScheduledCall } from '@drover/lease-kit';
import type { PacedItem } from '@drover/progress-pipes';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { checkTasks, type CheckedJob, type CheckedTask } from './check-job.ts';
import { gatherOutput } from './gather-output.ts';
import { herdError } from './herd-errors.ts';
import type { HerdJobParts } from './herd-job-parts.ts';
import { JobResponses } from './job-responses.ts';
import { placeInputs } from './place-inputs.ts';
import { removeJobFolder } from './remove-job-folder.ts';
import { cancelledBefore, TaskRun, type TaskEndedValue } from './task-run.ts';

/** What is known of a job from its begin. */
export interface HerdJobOptions {
  readonly job: CheckedJob;
  readonly principal: Principal;
  /** All of the job's on this machine is in it. */
  readonly dir: string;
  /** Where pipes are made; absent: in `dir`. */
  readonly pipesFolder: string | undefined;
  readonly isResumable: boolean;
  readonly rawItems: boolean;
  /** One slot for all of its tasks, which start together. */
  readonly isTogether: boolean;
  /** Paths may have backslashes in them. */
  readonly plainNames: boolean;
}

/** Counts of a job's tasks. */
export interface TaskCounts {
  readonly waiting: number;
  readonly running: number;
  readonly ended: number;
}

interface LiveTask {
  readonly task: CheckedTask;
  /** Its inputs are there. */
  isReady: boolean;
  run: TaskRun | undefined;
  /** It was ended since the job was given up, not since its client wanted it so: it is told of no end, and can run elsewhere. */
  isGivenUp: boolean;
  /** Its client wanted it ended. */
  isCancelled: boolean;
}

/**
 * A job on this machine.
 *
 * ```text
 * open ──finish, cancel of all, nobody reads, given up──▶ closed ──last task ended──▶ ending: strays, outputs ──▶ ended
 * ```
 *
 * A task waits, with its inputs being placed, until it is its turn and a slot is free; then it runs; then its outputs are looked for.
 */
export class HerdJob implements HerdJobSession {
  readonly jobId: string;
  readonly name: string;
  readonly principal: Principal;
  readonly folder: string;
  readonly #options: HerdJobOptions;
  readonly #parts: HerdJobParts;
  readonly #responses: JobResponses;
  readonly #inputPaths: ReadonlySet<string>;
  readonly #stopping = new AbortController();
  readonly #added = new Set<string>();
  readonly #live = new Map<string, LiveTask>();
  /** Names of those that wait, in order. */
  readonly #waiting: string[] = [];
  /** Items of each task that were left out since nobody took the responses. */
  readonly #dropped = new Map<string, number>();
  #granted = 0;
  #running = 0;
  #ended = 0;
  #end: JobEnd | undefined;
  #endReason: { readonly code: string; readonly message: string } | undefined;
  #isEnding = false;
  #isOver = false;
  #isForgotten = false;
  #forgetting: ScheduledCall | undefined;

  constructor(options: HerdJobOptions, parts: HerdJobParts) {
    this.#options = options;
    this.#parts = parts;
    this.jobId = options.job.jobId;
    this.name = options.job.name;
    this.#inputPaths = new Set(options.job.inputs.map(({ path }) => path));
    this.principal = options.principal;
    this.folder = join(options.dir, 'files');
    this.#responses = new JobResponses({
      limits: parts.limits,
      isKept: options.isResumable,
      onReader: () => this.#forgetting?.cancel(),
      onNoReader: () => this.#leaveAlone(options.isResumable ? parts.graceMs : 0),
      onRoom: () => {
        if (this.#responses.isSettled) this.#forget();
        else parts.onChange();
      },
    });
  }

  /** One slot is for all of its tasks. */
  get isTogether(): boolean {
    return this.#options.isTogether;
  }

  /** True while it has tasks that wait or run. */
  get hasWork(): boolean {
    return this.#waiting.length + this.#running > 0;
  }

  /** True when everything has been said. */
  get isOver(): boolean {
    return this.#isOver;
  }

  get counts(): TaskCounts {
    return { waiting: this.#waiting.length, running: this.#running, ended: this.#ended };
  }

  /** Puts the inputs there. What it throws leaves the caller to remove the folder. */
  async prepare(signal: AbortSignal): Promise<void> {
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    const { inputs } = this.#options.job;
    await placeInputs(inputs, { folder: this.folder, owner: this.#pinOwner }, this.#parts.content, signal);
  }

  /** The job has begun: from here on its client is told. */
  begin(slotsTotal: number): void {
    this.#responses.push({ case: 'begun', value: { slotsTotal, grace: durationFromMs(this.#parts.graceMs) } });
    this.#leaveAlone(this.#parts.graceMs);
  }

  add(init: MessageInitShape<typeof AddTasksSchema>): void {
    const rules = {
      limits: this.#parts.limits,
      plainNames: this.#options.plainNames,
      inputPaths: this.#inputPaths,
    };
    const tasks = checkTasks(init, rules).filter(({ name }) => !this.#added.has(name));
    // What crosses a cancel on the wire is not started, and the job's end says so.
    if (this.#end !== undefined && this.#end !== JobEnd.COMPLETED) return;
    if (tasks.length === 0) return;
    if (this.#end !== undefined) {
      throw herdError('HERD_TASK_INVALID', 'conflict', 'Tasks were added after the job was said to be finished');
    }
    if (tasks.length > this.#granted) {
      const message = `${tasks.length} tasks were added; the agent has asked for ${this.#granted}, of ${this.#tasksMax} in a job`;
      throw herdError('HERD_TASKS_TOO_MANY', 'exhausted', message);
    }
    this.#granted -= tasks.length;
    for (const task of tasks) {
      this.#added.add(task.name);
      const isReady = task.inputs.length === 0;
      const live: LiveTask = { task, isReady, run: undefined, isGivenUp: false, isCancelled: false };
      this.#live.set(task.name, live);
      this.#waiting.push(task.name);
      if (!live.isReady) void this.#placeInputsOf(live);
    }
    this.#parts.onChange();
  }

  cancel(tasks: readonly string[] = []): void {
    if (tasks.length === 0) return this.#close(JobEnd.CANCELLED);
    for (const name of tasks) {
      const live = this.#live.get(name);
      if (live !== undefined) live.isCancelled = true;
      this.#cancelTask(name);
    }
    this.#endIfDone();
  }

  finish(): void {
    this.#end ??= JobEnd.COMPLETED;
    this.#endIfDone();
  }

  /** The agent can go on no longer. */
  giveUp(reason: { readonly code: string; readonly message: string }): void {
    if (this.#isOver) return;
    this.#endReason ??= reason;
    this.#close(JobEnd.GIVEN_UP);
  }

  responses(afterSequence: bigint, signal: AbortSignal): ReturnType<JobResponses['read']> {
    return this.#responses.read(afterSequence, signal);
  }

  acknowledge(sequence: bigint): void {
    this.#responses.acknowledge(sequence);
  }

  /** True if a task could start now, were there a slot. */
  get hasNext(): boolean {
    const next = this.#waiting[0];
    return next !== undefined && !this.#responses.isFull && this.#live.get(next)!.isReady;
  }

  /** The name of the task that {@link startNext} starts. */
  get nextTask(): string | undefined {
    return this.#waiting[0];
  }

  /** Starts the next task; `onSlotFree` is called once, when its processes are gone. */
  startNext(onSlotFree: (tookMs: number) => void): void {
    const live = this.#live.get(this.#waiting.shift()!)!;
    const { task } = live;
    const { processes, pipes, clock, cancelGraceMs, env } = this.#parts;
    const startedMs = clock.monotonicMs();
    const run = new TaskRun(
      {
        task,
        key: this.#keyOf(task.name),
        jobId: this.jobId,
        folder: this.folder,
        pipesFolder: this.#pipesFolder(),
        rawItems: this.#options.rawItems,
        outputDir: this.#outputDir,
        env,
        cancelGraceMs,
      },
      {
        processes,
        pipes,
        clock,
        onStart: () => this.#responses.push({ case: 'started', value: { task: task.name } }),
        onItem: (item) => this.#passItem(task.name, item),
      },
    );
    live.run = run;
    this.#running += 1;
    void run.run().then((ended) => {
      this.#running -= 1;
      onSlotFree(clock.monotonicMs() - startedMs);
      return this.#taskEnded(live, ended);
    });
  }

  /** Asks for more tasks, so that about `ahead` wait or are on their way. */
  grantUpTo(slotsAhead: number): void {
    const ahead = this.isTogether ? this.#tasksMax : slotsAhead;
    if (this.#end !== undefined || this.#responses.isFull) return;
    const left = this.#tasksMax - this.#added.size - this.#granted;
    const has = this.#waiting.length + this.#granted;
    const more = Math.min(left, ahead - has);
    // Few messages of many rather than one for each task.
    if (more <= 0 || (has > 0 && more * 2 < ahead)) return;
    this.#granted += more;
    this.#responses.push({ case: 'credits', value: { tasks: more } });
  }

  get #tasksMax(): number {
    return this.isTogether ? this.#parts.limits.tasksTogetherMax : this.#parts.limits.tasksPerJobMax;
  }

  get #pinOwner(): string {
    return `herd:${this.jobId}`;
  }

  get #outputDir(): string {
    return join(this.#options.dir, 'output');
  }

  #keyOf(task: string): string {
    return `herd/${this.jobId}/${task}`;
  }

  #pipesFolder(): string {
    return this.#options.pipesFolder ?? join(this.#options.dir, 'pipes');
  }

  async #placeInputsOf(live: LiveTask): Promise<void> {
    const { task } = live;
    try {
      const into = { folder: this.folder, owner: this.#pinOwner };
      await placeInputs(task.inputs, into, this.#parts.content, this.#stopping.signal);
      live.isReady = true;
      this.#parts.onChange();
    } catch (error) {
      if (!this.#unqueue(task.name)) return;
      await this.#taskEnded(live, {
        task: task.name,
        end: TaskEnd.COULD_NOT_START,
        errorCode: isDroverError(error) ? error.code : 'HERD_INPUT_UNPLACEABLE',
        errorMessage: messageOf(error),
      });
    }
  }

  #passItem(task: string, item: PacedItem): void {
    if (this.#responses.isHalfFull && item.kind !== 'dropped') {
      this.#dropped.set(task, (this.#dropped.get(task) ?? 0) + 1);
      return;
    }
    this.#tellDropped(task);
    switch (item.kind) {
      case 'progress':
        return this.#responses.push({ case: 'item', value: { task, item: { case: 'progress', value: item.percent } } });
      case 'evaluation':
        return this.#responses.push({
          case: 'item',
          value: { task, item: { case: 'evaluation', value: { x: item.x, y: item.y } } },
        });
      case 'message':
      case 'error':
      case 'raw':
        return this.#responses.push(
          { case: 'item', value: { task, item: { case: item.kind, value: item.text } } },
          item.text.length * 2,
        );
      case 'dropped':
        return this.#responses.push({
          case: 'item',
          value: { task, item: { case: 'dropped', value: BigInt(item.count) } },
        });
    }
  }

  #tellDropped(task: string): void {
    const count = this.#dropped.get(task);
    if (count === undefined) return;
    this.#dropped.delete(task);
    this.#responses.push({ case: 'item', value: { task, item: { case: 'dropped', value: BigInt(count) } } });
  }

  async #taskEnded(live: LiveTask, ended: TaskEndedValue): Promise<void> {
    const { task } = live;
    this.#tellDropped(task.name);
    this.#parts.onTaskEnded(ended.end ?? TaskEnd.UNSPECIFIED);
    if (!live.isGivenUp || ended.end !== TaskEnd.CANCELLED) {
      this.#responses.push({ case: 'ended', value: ended }, ended.logTail?.length ?? 0);
      for (const path of task.outputs) this.#responses.push(await this.#gather(path, task.name));
    }
    this.#live.delete(task.name);
    this.#ended += 1;
    this.#endIfDone();
  }

  #gather(path: string, task?: string): ReturnType<typeof gatherOutput> {
    const { content, limits, outputsKeptMs } = this.#parts;
    return gatherOutput(
      {
        path,
        task,
        folder: this.folder,
        owner: `herd-outputs:${this.jobId}`,
        keptMs: outputsKeptMs,
        sizeBytesMax: limits.outputSizeBytesMax,
      },
      content,
    );
  }

  #cancelTask(name: string): void {
    const live = this.#live.get(name);
    if (live === undefined) return;
    if (live.run !== undefined) live.run.cancel();
    else if (this.#unqueue(name)) void this.#taskEnded(live, cancelledBefore(name));
  }

  #unqueue(name: string): boolean {
    const at = this.#waiting.indexOf(name);
    if (at >= 0) this.#waiting.splice(at, 1);
    return at >= 0;
  }

  #close(end: JobEnd): void {
    if (this.#isEnding) return;
    if (this.#end === undefined || this.#end === JobEnd.COMPLETED) this.#end = end;
    for (const [name, live] of [...this.#live]) {
      live.isGivenUp = this.#end === JobEnd.GIVEN_UP && !live.isCancelled;
      this.#cancelTask(name);
    }
    this.#stopping.abort(herdError('HERD_JOB_CANCELLED', 'cancelled', 'The job was cancelled'));
    this.#endIfDone();
  }

  #endIfDone(): void {
    if (this.#end === undefined || this.#live.size > 0 || this.#isEnding) return;
    this.#isEnding = true;
    void this.#finish(this.#end);
  }

  async #finish(end: JobEnd): Promise<void> {
    const { processes, content, logger } = this.#parts;
    try {
      // What left its group must write into no folder that is removed, and into no output that is read.
      if (this.#added.size > 0) await processes.settle(`herd/${this.jobId}/`);
      for (const path of this.#options.job.outputs) this.#responses.push(await this.#gather(path));
      processes.closeOutputs(this.#outputDir);
      await removeJobFolder(this.#options.dir);
      await content.unpin(this.#pinOwner);
    } catch (error) {
      logger.warn({ err: error, jobId: this.jobId }, 'something of a herd job was not cleared away');
    }
    const { code: errorCode, message: errorMessage } = this.#endReason ?? {};
    this.#responses.push({
      case: 'jobEnded',
      value: { end, ...(errorCode === undefined ? {} : { errorCode, errorMessage: errorMessage ?? '' }) },
    });
    this.#isOver = true;
    logger.info(
      {
        jobId: this.jobId,
        principal: principalName(this.principal),
        tasks: this.#ended,
        end: JobEndSchema.value[end]?.localName,
      },
      'herd job ended',
    );
    this.#parts.onOver(this);
    if (this.#responses.isUnread) this.#leaveAlone(this.#parts.graceMs);
  }

  /** Nobody reads: after the grace the job is cancelled, or forgotten if it is over. */
  #leaveAlone(graceMs: number): void {
    this.#forgetting?.cancel();
    if (this.#isForgotten) return;
    this.#forgetting = this.#parts.clock.schedule(graceMs, () => {
      if (this.#isOver) return this.#forget();
      // A client that comes back has its tasks run elsewhere: nobody has cancelled them.
      const message = `No client has read the job's responses for ${graceMs} ms`;
      this.giveUp({ code: 'HERD_CLIENT_LOST', message });
    });
  }

  #forget(): void {
    this[Symbol.dispose]();
    this.#parts.onForgotten(this);
  }

  /** Nothing is scheduled any more. */
  [Symbol.dispose](): void {
    this.#isForgotten = true;
    this.#forgetting?.cancel();
  }
}
