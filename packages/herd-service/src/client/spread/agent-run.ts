import { randomUUID } from 'node:crypto';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { forEachLimited } from '@drover/content-store';
import {
  HerdTaskSchema,
  JobEnd,
  type FoundAgent,
  type HerdAgentLink,
  type HerdConnector,
  type HerdFileSchema,
  type HerdJobCall,
  type HerdTask,
  type LocalFile,
  type RunJobResponse,
} from '@drover/herd-protocol';
import { DroverError, isDroverError, messageOf } from '@drover/lease-kit';
import type { FileDigests } from '../file-digests.ts';
import type { HerdJob, JobInput } from '../job-file/herd-job.ts';
import type { AgentResult } from './herd-job-result.ts';
import type { TaskAttempt } from './task-board.ts';

/** What an agent's part of a job tells the whole. */
export interface AgentRunListener {
  /** It has begun, or would like more tasks. */
  ready(run: AgentRun): void;
  response(run: AgentRun, response: RunJobResponse): void;
  /** Tasks that were not added, since their files could not be sent. */
  notAdded(run: AgentRun, attempts: readonly TaskAttempt[], error: unknown): void;
}

/** Who works together in it. */
export interface AgentRunDeps {
  readonly job: HerdJob;
  readonly connector: HerdConnector;
  readonly digests: FileDigests;
  readonly listener: AgentRunListener;
  /** Aborted: it is left at once. */
  readonly signal: AbortSignal;
  /** Aborted: it need not be made ready any more. */
  readonly preparing: AbortSignal;
}

const hashedAtOnce = 4;

/** One job on one agent, from connecting to the end. */
export class AgentRun {
  readonly agent: FoundAgent;
  /** Attempts that it was given and whose end and outputs are not all here. */
  readonly holding = new Map<string, TaskAttempt>();
  /** Of those: without an end. */
  runningCount = 0;
  slots = 0;
  endedCount = 0;
  /** Aborted when nothing can be got from it any more. */
  readonly gone: AbortSignal;
  readonly #deps: AgentRunDeps;
  readonly #gone = new AbortController();
  #credits = 0;
  #link: HerdAgentLink | undefined;
  #call: HerdJobCall | undefined;
  #sentBytes = 0;
  #state: 'preparing' | 'open' | 'finishing' | 'over' = 'preparing';
  /** Attempts that were sent to it: they may have run. */
  readonly #added = new Set<string>();

  constructor(agent: FoundAgent, deps: AgentRunDeps) {
    this.agent = agent;
    this.#deps = deps;
    this.gone = this.#gone.signal;
  }

  get link(): HerdAgentLink {
    return this.#link!;
  }

  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** How many more tasks it can be given now. */
  get credits(): number {
    return this.#state === 'open' ? this.#credits : 0;
  }

  get isPreparing(): boolean {
    return this.#state === 'preparing';
  }

  wasAdded(attempt: string): boolean {
    return this.#added.has(attempt);
  }

  /** Runs to the end of the job on this agent; never throws. */
  async run(): Promise<AgentResult> {
    let failure: unknown;
    let isLost = false;
    try {
      await this.#prepare();
      for await (const response of this.#call!.responses) {
        const end = this.#take(response);
        if (end !== undefined) failure = end;
      }
    } catch (error) {
      failure = error;
      isLost = isDroverError(error, 'AGENT_LOST') || this.holding.size > 0;
    }
    const wasFinishing = this.#state === 'finishing';
    this.#state = 'over';
    this.#gone.abort(failure ?? new DOMException('The job has ended there.', 'AbortError'));
    // Files that are on their way from it need the link: whoever brings them is told by `gone`.
    const state = failure === undefined ? 'done' : isLost || wasFinishing ? 'lost' : 'left';
    return {
      agentId: this.agent.agentId,
      name: this.agent.name,
      state,
      ...(failure === undefined ? {} : { code: codeOf(failure), message: messageOf(failure) }),
      sentBytes: this.#sentBytes,
      tasks: this.endedCount,
    };
  }

  async close(): Promise<void> {
    await this.#link?.[Symbol.asyncDispose]();
  }

  /** Gives it tasks, at most {@link credits}. */
  give(attempts: readonly TaskAttempt[]): void {
    this.#credits -= attempts.length;
    this.runningCount += attempts.length;
    for (const attempt of attempts) this.holding.set(attempt.name, attempt);
    const ready = attempts.filter(({ task }) => task.inputs.length === 0);
    const needing = attempts.filter(({ task }) => task.inputs.length > 0);
    if (ready.length > 0) this.#add(ready.map((attempt) => ({ attempt, files: [] })));
    if (needing.length > 0) void this.#sendAndAdd(needing);
  }

  /** An attempt's end, outputs included, is here. */
  release(attempt: string): void {
    this.holding.delete(attempt);
  }

  finish(): void {
    if (this.#state !== 'open') return;
    this.#state = 'finishing';
    this.#call?.finish();
  }

  /** Ends what it has; without names, the job. */
  cancel(attempts?: readonly string[]): void {
    this.#call?.cancel(attempts);
  }

  async #prepare(): Promise<void> {
    const { job, connector } = this.#deps;
    const signal = AbortSignal.any([this.#deps.signal, this.#deps.preparing]);
    this.#link = await connector.connect(this.agent, signal);
    // Who leaves does not wait for what the agent has still to say.
    this.#deps.signal.addEventListener('abort', () => void this.close(), { once: true });
    const files = await this.#filesOf(job.inputs, signal);
    for (let attempt = 1; ; attempt++) {
      this.#sentBytes += (await this.#link.send(files, signal)).sentBytes;
      try {
        const begin = {
          jobId: randomUUID(),
          name: job.name,
          inputs: files.map(herdFile),
          outputs: job.outputs.map(({ path }) => path),
        };
        this.#call = await this.#link.begin(begin, signal);
        break;
      } catch (error) {
        // Evicted there between the two: sent once more.
        if (attempt > 1 || !isDroverError(error, 'BLOB_NOT_FOUND')) throw error;
      }
    }
    this.#state = 'open';
  }

  /** Answers why the job ended there, if that was early. */
  #take(response: RunJobResponse): DroverError | undefined {
    const { message } = response;
    if (message.case === 'begun') this.slots = message.value.slotsTotal;
    if (message.case === 'credits') this.#credits += message.value.tasks;
    if (message.case === 'ended' && this.holding.has(message.value.task)) {
      this.runningCount -= 1;
      this.endedCount += 1;
    }
    this.#deps.listener.response(this, response);
    if (message.case === 'begun' || message.case === 'credits') this.#deps.listener.ready(this);
    if (message.case !== 'jobEnded' || message.value.end !== JobEnd.GIVEN_UP) return undefined;
    const { errorCode, errorMessage } = message.value;
    return new DroverError({
      code: errorCode || 'HERD_JOB_GIVEN_UP',
      advice: 'unavailable',
      message: errorMessage || `${this.agent.name} gave the job up`,
    });
  }

  async #sendAndAdd(attempts: readonly TaskAttempt[]): Promise<void> {
    const { signal } = this.#deps;
    const life = AbortSignal.any([signal, this.gone]);
    try {
      const filesOfAll = await Promise.all(attempts.map(({ task }) => this.#filesOf(task.inputs, life)));
      this.#sentBytes += (await this.link.send(filesOfAll.flat(), life)).sentBytes;
      if (this.#state === 'open') this.#add(attempts.map((attempt, i) => ({ attempt, files: filesOfAll[i]! })));
    } catch (error) {
      // When it is gone, its tasks go elsewhere with all the others that it holds.
      if (this.#state === 'open') this.#notAdded(attempts, error);
    }
  }

  #add(tasks: readonly { readonly attempt: TaskAttempt; readonly files: readonly LocalFile[] }[]): void {
    try {
      this.#call!.add({ tasks: tasks.map(({ attempt, files }) => herdTask(attempt, files)) });
      for (const { attempt } of tasks) this.#added.add(attempt.name);
    } catch (error) {
      const attempts = tasks.map(({ attempt }) => attempt);
      // Not in the turn of whoever gives tasks out.
      queueMicrotask(() => this.#notAdded(attempts, error));
    }
  }

  #notAdded(attempts: readonly TaskAttempt[], error: unknown): void {
    this.runningCount -= attempts.length;
    this.#deps.listener.notAdded(this, attempts, error);
  }

  /** Those for this agent, with their digests. An agent that does not say what it is gets all. */
  async #filesOf(inputs: readonly JobInput[], signal: AbortSignal): Promise<LocalFile[]> {
    const { digests } = this.#deps;
    const { architecture } = this.agent;
    const wanted = inputs.filter(
      (input) => input.architecture === undefined || architecture === '' || input.architecture === architecture,
    );
    const files = new Map<JobInput, LocalFile>();
    await forEachLimited(wanted, hashedAtOnce, async (input) => {
      const { hash, sizeBytes } = await digests.digestOf(input.source, signal);
      const digest = { $typeName: 'drover.lease.v1.BlobDigest', hash, sizeBytes: BigInt(sizeBytes) } as const;
      files.set(input, { path: input.path, source: input.source, executable: input.executable, digest });
    });
    return wanted.map((input) => files.get(input)!);
  }
}

function herdFile({ path, digest, executable }: LocalFile): MessageInitShape<typeof HerdFileSchema> {
  return { path, digest, executable };
}

function herdTask({ name, task }: TaskAttempt, files: readonly LocalFile[]): HerdTask {
  return create(HerdTaskSchema, {
    name,
    exe: task.exe,
    arguments: [...task.arguments],
    environment: { ...task.environment },
    workingFolder: task.workingFolder,
    ...(task.pipe === undefined ? {} : { pipe: task.pipe }),
    ...(task.timeoutMs === undefined ? {} : { timeout: durationFromMs(task.timeoutMs) }),
    inputs: files.map(herdFile),
    outputs: task.outputs.map(({ path }) => path),
  });
}

function codeOf(error: unknown): string {
  return isDroverError(error) ? error.code : 'INTERNAL';
}
