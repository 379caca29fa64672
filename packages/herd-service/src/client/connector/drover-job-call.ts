import { setTimeout as delay } from 'node:timers/promises';
import { create, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import {
  type AddTasksSchema,
  HerdService,
  HerdTaskSchema,
  RunJobRequestSchema,
  type BeginJobSchema,
  type FoundAgent,
  type HerdJobCall,
  type HerdTask,
  type RunJobRequest,
  type RunJobResponse,
} from '@drover/herd-protocol';
import { DroverError, isDroverError, messageOf } from '@drover/lease-kit';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import type { AgentConnection } from './agent-connection.ts';
import { isAway, isRefused } from './connect-failures.ts';
import { PushQueue } from './push-queue.ts';

/** How long a job goes on without a stream where the agent does not say. */
const graceDefaultMs = 30_000;
/** A machine that refuses connections for so long has no agent any more: its restart would have ended the job too. */
const refusedMsMax = 2_000;
const backOffMs = { first: 100, max: 2_000 };
/** Responses are acknowledged by so many. */
const acknowledgeSpacing = 64n;
/** Tasks of one message have about so many bytes at most. */
const addSizeBytesMax = 1024 * 1024;

/** What a call needs. */
export interface DroverJobCallDeps {
  readonly agent: FoundAgent;
  readonly connection: AgentConnection;
  /** Ends the call. */
  readonly signal: AbortSignal;
  /** Default: the agent's grace. */
  readonly lostAfterMs?: number | undefined;
}

/**
 * A job on one agent, over streams that follow each other.
 *
 * ```text
 * begin ──▶ streaming ── job_ended ──▶ ended
 *             │   ▲
 *       broke │   │ resumed
 *             ▼   │
 *           resuming ── grace over, nothing listens, or the job is unknown ──▶ lost
 * ```
 */
export class DroverJobCall implements HerdJobCall {
  readonly responses: AsyncIterable<RunJobResponse>;
  readonly #deps: DroverJobCallDeps;
  readonly #begin: MessageInitShape<typeof BeginJobSchema>;
  /** Tasks of which the agent has said nothing: it may not have got them. */
  readonly #unheard = new Map<string, HerdTask>();
  #cancelledAll = false;
  readonly #cancelled = new Set<string>();
  #finished = false;
  #credits = 0;
  #graceMs = graceDefaultMs;
  #sequence = 0n;
  #acknowledged = 0n;
  #outgoing: PushQueue<RunJobRequest> = new PushQueue();
  #stream: AsyncIterableIterator<RunJobResponse> | undefined;
  #first: RunJobResponse | undefined;

  constructor(begin: MessageInitShape<typeof BeginJobSchema>, deps: DroverJobCallDeps) {
    this.#begin = begin;
    this.#deps = deps;
    this.responses = this.#run();
  }

  /** Opens the first stream; returns when the agent has begun the job. Throws what the agent says. */
  async open(signal: AbortSignal): Promise<void> {
    this.#openStream({ case: 'begin', value: this.#begin });
    const onAbort = (): void => void this.#stream?.return?.();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const first = await this.#stream!.next();
      signal.throwIfAborted();
      if (first.done === true) throw new Error('the agent ended the stream without a word');
      this.#first = first.value;
    } catch (error) {
      signal.throwIfAborted();
      throw isAway(error)
        ? this.#lost(`the connection broke: ${messageOf(error)}`, error)
        : droverErrorFromConnect(error);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  add({ tasks = [] }: MessageInitShape<typeof AddTasksSchema>): void {
    if (tasks.length > this.#credits) {
      throw new DroverError({
        code: 'TASKS_BEYOND_CREDITS',
        advice: 'conflict',
        message: `${tasks.length} tasks are more than the ${this.#credits} that ${this.#deps.agent.name} asked for`,
      });
    }
    this.#credits -= tasks.length;
    const whole = tasks.map((task) => create(HerdTaskSchema, task));
    for (const task of whole) this.#unheard.set(task.name, task);
    this.#sendTasks(whole);
  }

  cancel(tasks?: readonly string[]): void {
    if (tasks === undefined) this.#cancelledAll = true;
    else for (const task of tasks) this.#cancelled.add(task);
    this.#send({ case: 'cancel', value: { tasks: [...(tasks ?? [])] } });
  }

  finish(): void {
    this.#finished = true;
    this.#send({ case: 'finish', value: {} });
  }

  async *#run(): AsyncGenerator<RunJobResponse> {
    try {
      if (this.#first !== undefined) {
        this.#note(this.#first);
        yield this.#first;
      }
      for (;;) {
        try {
          for (;;) {
            const next = await this.#stream!.next();
            if (next.done === true) break;
            if (next.value.sequence <= this.#sequence) continue;
            this.#note(next.value);
            yield next.value;
            if (next.value.message.case === 'jobEnded') return;
          }
          await this.#resume(new Error('the agent ended the stream'));
        } catch (error) {
          this.#deps.signal.throwIfAborted();
          if (!isAway(error)) throw droverErrorFromConnect(error);
          await this.#resume(error);
        }
      }
    } finally {
      this.#outgoing.end();
      void this.#stream?.return?.();
    }
  }

  /** Opens streams until one answers; throws `AGENT_LOST`. */
  async #resume(why: unknown): Promise<void> {
    const { signal, lostAfterMs = this.#graceMs } = this.#deps;
    const brokenAtMs = performance.now();
    let refusedSinceMs: number | undefined;
    let waitMs = backOffMs.first;
    for (let last = why; ; waitMs = Math.min(backOffMs.max, waitMs * 2)) {
      const nowMs = performance.now();
      if (isRefused(last)) refusedSinceMs ??= nowMs;
      else refusedSinceMs = undefined;
      if (refusedSinceMs !== undefined && nowMs - refusedSinceMs >= Math.min(refusedMsMax, lostAfterMs)) {
        throw this.#lost('nothing listens there any more', last);
      }
      if (nowMs - brokenAtMs >= lostAfterMs) {
        throw this.#lost(`it was away for ${Math.round(lostAfterMs / 1_000)} s: ${messageOf(last)}`, last);
      }
      await delay(waitMs, undefined, { signal });
      this.#openStream({ case: 'resume', value: { jobId: this.#begin.jobId ?? '', afterSequence: this.#sequence } });
      this.#sendAgain();
      const heard = await this.#firstOfResumed().catch((error: unknown) => {
        signal.throwIfAborted();
        return error;
      });
      if (heard === undefined) return;
      if (isDroverError(heard)) throw heard;
      last = heard;
    }
  }

  /**
   * Whether the agent takes the stream: it answers its headers at once, but a response only when there is something to say. The
   * first response is waited for a short while alone; a refusal comes at once.
   */
  async #firstOfResumed(): Promise<undefined> {
    const stream = this.#stream!;
    const first = stream.next();
    first.catch(() => undefined);
    const quiet = new AbortController();
    const answered = await Promise.race([
      first.then(
        () => undefined,
        (error: unknown) => ({ error }),
      ),
      delay(500, undefined, { signal: quiet.signal }).catch(() => undefined),
    ]);
    quiet.abort();
    if (answered === undefined) {
      // What was asked for already is what the next reader gets.
      let isFirst = true;
      this.#stream = {
        next: () => {
          if (!isFirst) return stream.next();
          isFirst = false;
          return first;
        },
        return: () => stream.return!(),
        [Symbol.asyncIterator]() {
          return this;
        },
      };
      return;
    }
    if (isAway(answered.error)) throw answered.error;
    const error = droverErrorFromConnect(answered.error);
    throw error.code === 'HERD_JOB_UNKNOWN' ? this.#lost('it does not know the job any more', error) : error;
  }

  #note(response: RunJobResponse): void {
    this.#sequence = response.sequence;
    const { message } = response;
    if (message.case === 'begun' && message.value.grace !== undefined) this.#graceMs = durationMs(message.value.grace);
    if (message.case === 'credits') this.#credits += message.value.tasks;
    if (message.case === 'started' || message.case === 'ended') this.#unheard.delete(message.value.task);
    if (this.#sequence - this.#acknowledged < acknowledgeSpacing) return;
    this.#acknowledged = this.#sequence;
    this.#send({ case: 'acknowledge', value: { sequence: this.#sequence } });
  }

  #openStream(first: MessageInitShape<typeof RunJobRequestSchema>['message']): void {
    this.#outgoing.end();
    this.#outgoing = new PushQueue();
    this.#send(first);
    this.#stream = this.#deps.connection.stream(HerdService.method.runJob, this.#outgoing, this.#deps.signal);
  }

  /** What the agent may not have got before the stream broke; what it has got it leaves out. */
  #sendAgain(): void {
    this.#sendTasks([...this.#unheard.values()]);
    if (this.#cancelledAll) this.#send({ case: 'cancel', value: {} });
    else if (this.#cancelled.size > 0) this.#send({ case: 'cancel', value: { tasks: [...this.#cancelled] } });
    if (this.#finished) this.#send({ case: 'finish', value: {} });
  }

  #sendTasks(tasks: readonly HerdTask[]): void {
    let part: HerdTask[] = [];
    let sizeBytes = 0;
    for (const task of tasks) {
      const bytes = toBinary(HerdTaskSchema, task).length;
      if (part.length > 0 && sizeBytes + bytes > addSizeBytesMax) {
        this.#send({ case: 'add', value: { tasks: part } });
        part = [];
        sizeBytes = 0;
      }
      part.push(task);
      sizeBytes += bytes;
    }
    if (part.length > 0) this.#send({ case: 'add', value: { tasks: part } });
  }

  #send(message: MessageInitShape<typeof RunJobRequestSchema>['message']): void {
    this.#outgoing.push(create(RunJobRequestSchema, { message: message! }));
  }

  #lost(why: string, cause: unknown): DroverError {
    return new DroverError({
      code: 'AGENT_LOST',
      advice: 'unavailable',
      message: `${this.#deps.agent.name} is lost: ${why}; tasks of it without an end may have run`,
      cause,
    });
  }
}
