import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  AddTasksSchema,
  JobBegunSchema,
  JobEnd,
  RunJobResponseSchema,
  TaskCreditsSchema,
  TaskStartedSchema,
  type HerdJobCall,
  type HerdTask,
  type RunJobResponse,
} from '@drover/herd-protocol';
import { DroverError, type Clock } from '@drover/lease-kit';
import { legacyTask, probeTask, type LegacyTask } from './legacy-task.ts';
import type { LegacyJob, LegacyJobResult, LegacyTaskEnd } from './run-legacy-job.ts';
import { runOnAgent, type RunOnAgentDeps } from './run-on-agent.ts';
import { emptyInput, type SentInput } from './send-job.ts';
import type { StagedOutput } from './staged-outputs.ts';
import { jobEnded, outputMessage, taskEnded, type ResponseMessage } from './response-messages.ts';
import { taskItem } from './task-item.ts';
import type { WireNames } from './wire-names.ts';

/** What a call was begun with. */
export interface LegacyJobCallOptions {
  readonly name: string;
  /** Of the job, sent each time: an agent need not have kept them. */
  readonly inputs: readonly SentInput[];
  /** Paths of the job's inputs. */
  readonly inputPaths: ReadonlySet<string>;
  /** Paths of the job's outputs. */
  readonly outputs: readonly string[];
  readonly names: WireNames;
  /** Tasks that are given to the agent at a time, at least 1. */
  readonly tasksAtATime: number;
  /** How long after a task was added others are waited for, if there is room for them. */
  readonly fillMs: number;
}

/** What a call needs. */
export interface LegacyJobCallDeps extends Omit<RunOnAgentDeps, 'stop'> {
  readonly clock: Clock;
  /** The files of a task, from their digests. Throws `BLOB_NOT_FOUND`. */
  readonly inputsOf: (task: HerdTask) => readonly SentInput[];
}

/**
 * A job on an original agent. Its protocol takes a job whole and answers with all results at once, so tasks are collected until
 * the agent's processors have one each, nothing came for a moment, or no more will come; they run as one job of the original
 * protocol, and the next ones as another.
 *
 * ```
 * collecting ──▶ running ──▶ results ──┬─▶ collecting (credits anew)
 *     │                                └─▶ ended (finish was called, nothing waits)
 *     └─ finish, cancel ──▶ ended
 * ```
 */
export class LegacyJobCall implements HerdJobCall {
  readonly #options: LegacyJobCallOptions;
  readonly #deps: LegacyJobCallDeps;
  readonly #outputs = new Map<string, StagedOutput>();
  #waiting: LegacyTask[] = [];
  #running: readonly LegacyTask[] = [];
  #stop = new AbortController();
  /** Programs that are executable where the agent keeps them. */
  readonly #executable = new Set<string>();
  #credits: number;
  #isFinished = false;
  #isCancelled = false;
  /** Tasks that were taken back before they were sent. */
  #takenBack: LegacyTask[] = [];
  #wake = (): void => undefined;
  #sequence = 0n;

  constructor(options: LegacyJobCallOptions, deps: LegacyJobCallDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#credits = options.tasksAtATime;
  }

  /** Throws `HERD_TASK_INVALID` for what the original protocol cannot say, `TASKS_BEYOND_CREDITS`; none is added then. */
  add({ tasks = [] }: MessageInitShape<typeof AddTasksSchema>): void {
    const added = create(AddTasksSchema, { tasks }).tasks;
    if (added.length > this.#credits) {
      throw new DroverError({
        code: 'TASKS_BEYOND_CREDITS',
        advice: 'internal',
        message: `${added.length} tasks were added where the agent asked for ${this.#credits}`,
      });
    }
    const made = added.map((task) => legacyTask(task, this.#options.inputPaths, this.#options.names));
    const pipes = [...this.#waiting, ...made].map(({ pipe }) => pipe).filter((pipe) => pipe !== '');
    const twice = pipes.find((pipe, at) => pipes.indexOf(pipe) < at);
    if (twice !== undefined) {
      throw new DroverError({
        code: 'HERD_TASK_INVALID',
        advice: 'fix-input',
        message: `two tasks have the pipe ${JSON.stringify(twice)}; an original agent tells tasks apart by their pipes`,
      });
    }
    this.#credits -= made.length;
    this.#waiting.push(...made);
    this.#wake();
  }

  /** Throws `LEGACY_CANCELS_ALL` for a part of what was sent: the original protocol stops a job, and no single task. */
  cancel(tasks: readonly string[] = []): void {
    const isMeant = ({ task }: LegacyTask): boolean => tasks.length === 0 || tasks.includes(task.name);
    const spared = this.#running.filter((task) => !isMeant(task));
    if (spared.length > 0 && spared.length < this.#running.length) {
      throw new DroverError({
        code: 'LEGACY_CANCELS_ALL',
        advice: 'conflict',
        message: `an original agent stops all tasks of a job or none: ${spared.map(({ task }) => task.name).join(', ')} would end too`,
      });
    }
    if (tasks.length === 0) this.#isCancelled = true;
    this.#takenBack.push(...this.#waiting.filter(isMeant));
    this.#waiting = this.#waiting.filter((task) => !isMeant(task));
    if (this.#running.length > 0 && spared.length === 0) this.#stop.abort();
    this.#wake();
  }

  finish(): void {
    this.#isFinished = true;
    this.#wake();
  }

  readonly responses: AsyncIterable<RunJobResponse> = { [Symbol.asyncIterator]: () => this.#respond() };

  async *#respond(): AsyncGenerator<RunJobResponse, void, undefined> {
    for await (const message of this.#messages()) {
      this.#sequence += 1n;
      yield create(RunJobResponseSchema, { sequence: this.#sequence, message });
    }
  }

  async *#messages(): AsyncGenerator<ResponseMessage, void, undefined> {
    const { tasksAtATime } = this.#options;
    yield { case: 'begun', value: create(JobBegunSchema, { slotsTotal: tasksAtATime }) };
    yield { case: 'credits', value: create(TaskCreditsSchema, { tasks: tasksAtATime }) };
    for (;;) {
      await this.#collect();
      const takenBack = this.#takenBack.splice(0);
      for (const task of takenBack) yield* this.#taskEnded(task, 'cancelled');
      const tasks = this.#isCancelled ? [] : this.#waiting.splice(0);
      if (tasks.length > 0) {
        if ((yield* this.#run(tasks)) === 'given up') {
          yield jobEnded(JobEnd.GIVEN_UP, 'LEGACY_JOB_STOPPED', 'the agent stopped the job, and tells no reason');
          return;
        }
      } else if (this.#isCancelled || this.#isFinished) break;
      const count = tasks.length + takenBack.length;
      this.#credits += count;
      if (!this.#isFinished && !this.#isCancelled && count > 0) {
        yield { case: 'credits', value: create(TaskCreditsSchema, { tasks: count }) };
      }
    }
    for (const path of this.#options.outputs) yield outputMessage(path, '', this.#outputs.get(path));
    yield jobEnded(this.#isCancelled ? JobEnd.CANCELLED : JobEnd.COMPLETED);
  }

  /** Waits until tasks shall be sent, or none will come. */
  async #collect(): Promise<void> {
    const { clock, signal } = this.#deps;
    let fill: { cancel(): void } | undefined;
    let isFilled = false;
    const onAbort = (): void => this.#wake();
    signal.addEventListener('abort', onAbort);
    try {
      for (;;) {
        signal.throwIfAborted();
        if (this.#isCancelled || this.#takenBack.length > 0) return;
        if (this.#isFinished || (this.#waiting.length > 0 && (isFilled || this.#credits === 0))) return;
        if (this.#waiting.length > 0) {
          fill ??= clock.schedule(this.#options.fillMs, () => {
            isFilled = true;
            this.#wake();
          });
        }
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      fill?.cancel();
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Has the agent run these as one job. */
  async *#run(tasks: readonly LegacyTask[]): AsyncGenerator<ResponseMessage, 'done' | 'given up', undefined> {
    const { names, inputs, outputs } = this.#options;
    this.#running = tasks;
    this.#stop = new AbortController();
    try {
      await this.#makeExecutable(tasks);
      const jobOutputs = new Map(outputs.map((path) => [path, names.of(path)]));
      const result = yield* this.#tell(
        this.#onAgent({
          inputs: distinct([...inputs, ...tasks.flatMap(({ task }) => this.#deps.inputsOf(task))]),
          tasks,
          outputs: new Set([...jobOutputs.values(), ...tasks.flatMap((task) => [...task.outputs.values()])]),
        }),
      );
      const isStopped = this.#stop.signal.aborted;
      for (const task of tasks) {
        const told = result.tasks.get(task) ?? 'unknown';
        yield* this.#taskEnded(task, told === 'unknown' && isStopped ? 'cancelled' : told, result);
      }
      for (const [path, wireName] of jobOutputs) await this.#keepLatest(path, result.outputs.get(wireName));
      return result.end === 'stopped' && !isStopped ? 'given up' : 'done';
    } finally {
      this.#running = [];
    }
  }

  /**
   * On Unix an original agent makes programs executable when it has received the job, and does not wait for it: new ones are
   * started before they can be. What it receives again stays executable, so programs go ahead, empty, in a job of their own.
   */
  async #makeExecutable(tasks: readonly LegacyTask[]): Promise<void> {
    const exes = [...new Set(tasks.map(({ exe }) => exe))].filter((exe) => !this.#executable.has(exe));
    if (this.#options.names.isWindows || exes.length === 0) return;
    const job = { inputs: exes.map(emptyInput), tasks: exes.map(probeTask), outputs: new Set<string>() };
    for await (const _ of this.#onAgent(job));
    for (const exe of exes) this.#executable.add(exe);
  }

  #onAgent(job: Omit<LegacyJob, 'name'>): ReturnType<typeof runOnAgent> {
    return runOnAgent({ ...job, name: this.#options.name }, { ...this.#deps, stop: this.#stop.signal });
  }

  /** Passes on what tasks tell, and that they have started when the first of it comes: the agent does not tell that. */
  async *#tell(signs: ReturnType<typeof runOnAgent>): AsyncGenerator<ResponseMessage, LegacyJobResult, undefined> {
    const started = new Set<LegacyTask>();
    for (;;) {
      const step = await signs.next();
      if (step.done === true) return step.value;
      const { task, item } = step.value;
      const { name } = task.task;
      if (!started.has(task)) yield { case: 'started', value: create(TaskStartedSchema, { task: name }) };
      started.add(task);
      if (item !== undefined) yield { case: 'item', value: taskItem(name, item) };
    }
  }

  /** How a task ended, then what became of each of its outputs. */
  *#taskEnded(
    { task, outputs }: LegacyTask,
    end: LegacyTaskEnd | 'cancelled',
    result?: LegacyJobResult,
  ): Generator<ResponseMessage> {
    yield taskEnded(task.name, end);
    for (const [path, wireName] of outputs) yield outputMessage(path, task.name, result?.outputs.get(wireName));
  }

  /** An output of the job may come with each of its parts; the last one counts. */
  async #keepLatest(path: string, output: StagedOutput | undefined): Promise<void> {
    const before = this.#outputs.get(path);
    if (output === undefined) return;
    this.#outputs.set(path, output);
    if (before !== undefined) await this.#deps.staged.drop(before);
  }
}

/** Each name once: tasks may bring the same file. */
function distinct(inputs: readonly SentInput[]): readonly SentInput[] {
  return [...new Map(inputs.map((input) => [input.name, input])).values()];
}
