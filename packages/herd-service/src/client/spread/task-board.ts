import { durationMs } from '@bufbuild/protobuf/wkt';
import { TaskEnd, type TaskEnded } from '@drover/herd-protocol';
import type { JobTask } from '../job-file/herd-job.ts';
import type { TaskOutcome, TaskResult } from './herd-job-result.ts';

/** One attempt at a task on one agent. */
export interface TaskAttempt {
  /** The task's name on the agent: an agent knows each name once, so further attempts have a number. */
  readonly name: string;
  readonly task: JobTask;
}

const outcomes: Readonly<Partial<Record<TaskEnd, TaskOutcome>>> = {
  [TaskEnd.UNSPECIFIED]: 'failed',
  [TaskEnd.SUCCEEDED]: 'succeeded',
  [TaskEnd.FAILED]: 'failed',
  [TaskEnd.CANCELLED]: 'cancelled',
  [TaskEnd.TIMED_OUT]: 'timed-out',
  [TaskEnd.OUT_OF_MEMORY]: 'out-of-memory',
  [TaskEnd.COULD_NOT_START]: 'could-not-start',
};

/** Logs that are kept, of tasks that did not succeed. */
const logsMax = 100;

interface Entry {
  readonly task: JobTask;
  /** Waiting: with nobody. Given: with an agent. Ended: its outputs are still on their way. Settled: over. */
  state: 'waiting' | 'given' | 'ended' | 'settled';
  /** The name of its last attempt. */
  attempt: string;
  attempts: number;
  failures: number;
  mayHaveRunTwice: boolean;
  agent: string | undefined;
  result: TaskResult | undefined;
}

/**
 * Which task is where.
 *
 * ```text
 * waiting ──take──▶ given ──ended──▶ ended ──settled──▶ settled
 *    ▲                │ ended, to be retried      │
 *    └────────────────┴───────── agent gone ──────┘
 * ```
 */
export class TaskBoard {
  readonly #entries: readonly Entry[];
  readonly #byName: ReadonlyMap<string, Entry>;
  readonly #byAttempt = new Map<string, Entry>();
  #waiting: Entry[];
  /** Of `#waiting`: those before it are taken. */
  #next = 0;
  #unsettled: number;
  #logs = 0;
  #isCancelled = false;

  constructor(tasks: readonly JobTask[]) {
    this.#entries = tasks.map((task) => ({
      task,
      state: 'waiting',
      attempt: task.name,
      attempts: 0,
      failures: 0,
      mayHaveRunTwice: false,
      agent: undefined,
      result: undefined,
    }));
    this.#byName = new Map(this.#entries.map((entry) => [entry.task.name, entry]));
    this.#waiting = [...this.#entries];
    this.#unsettled = tasks.length;
  }

  get waitingCount(): number {
    return this.#waiting.length - this.#next;
  }

  get isSettled(): boolean {
    return this.#unsettled === 0;
  }

  /** The next tasks, for an agent. */
  take(count: number, agent: string): TaskAttempt[] {
    const entries = this.#waiting.slice(this.#next, this.#next + count);
    this.#next += entries.length;
    return entries.map((entry) => {
      entry.state = 'given';
      entry.agent = agent;
      entry.attempts += 1;
      if (entry.attempts > 1) entry.attempt = this.#nameOfNext(entry);
      this.#byAttempt.set(entry.attempt, entry);
      return { name: entry.attempt, task: entry.task };
    });
  }

  /** The task of an attempt's name. */
  taskOf(attempt: string): JobTask | undefined {
    return this.#byAttempt.get(attempt)?.task;
  }

  /** An attempt ended. Answers its result, or undefined if it is to be run again. */
  ended(attempt: string, ended: TaskEnded): TaskResult | undefined {
    const entry = this.#byAttempt.get(attempt);
    if (entry?.state !== 'given') return entry?.result;
    const outcome = outcomes[ended.end] ?? 'failed';
    const mayRetry = outcome !== 'succeeded' && outcome !== 'cancelled' && !this.#isCancelled;
    if (mayRetry && entry.failures < entry.task.retries) {
      entry.failures += 1;
      this.#wait(entry);
      return undefined;
    }
    const hasLog = outcome !== 'succeeded' && ended.logTail.length > 0 && this.#logs++ < logsMax;
    entry.state = 'ended';
    entry.result = {
      ...this.#resultOf(entry, outcome),
      exitCode: ended.exitCode,
      signal: ended.signal || undefined,
      errorCode: ended.errorCode || undefined,
      errorMessage: ended.errorMessage || undefined,
      logTail: hasLog ? new TextDecoder().decode(ended.logTail) : undefined,
      tookMs: ended.took === undefined ? undefined : durationMs(ended.took),
    };
    return entry.result;
  }

  /** Its outputs are here, or known to be missing. */
  settled(attempt: string): void {
    const entry = this.#byAttempt.get(attempt);
    if (entry?.state === 'ended') this.#settle(entry);
  }

  /**
   * The agent of an attempt is gone before all of it was here. `mayHaveRun`: it was sent there. Answers undefined if the task is
   * run again, since it had no end, or had succeeded and its outputs are gone with the agent; otherwise its result.
   */
  agentGone(attempt: string, mayHaveRun: boolean): TaskResult | undefined {
    const entry = this.#byAttempt.get(attempt);
    if (entry === undefined || (entry.state !== 'given' && entry.state !== 'ended')) return entry?.result;
    const isOver = entry.state === 'ended' && entry.result?.outcome !== 'succeeded';
    if (isOver || this.#isCancelled) {
      entry.result ??= this.#resultOf(entry, 'cancelled');
      this.#settle(entry);
      return entry.result;
    }
    entry.mayHaveRunTwice ||= mayHaveRun;
    entry.result = undefined;
    this.#wait(entry);
    return undefined;
  }

  /** An attempt that was never sent to its agent cannot be sent anywhere. */
  failedHere(attempt: string, errorCode: string, errorMessage: string): TaskResult | undefined {
    const entry = this.#byAttempt.get(attempt);
    if (entry?.state !== 'given') return undefined;
    entry.result = { ...this.#resultOf(entry, 'could-not-start'), errorCode, errorMessage };
    this.#settle(entry);
    return entry.result;
  }

  /** Nothing is given out any more, and what waits is over; with names: of these alone. Answers what is over now. */
  cancelWaiting(names?: readonly string[]): TaskResult[] {
    if (names === undefined) this.#isCancelled = true;
    return this.#endWaiting('cancelled', undefined, names);
  }

  /** What waits can run nowhere. Answers what is over now. */
  giveUp(code: string, message: string): TaskResult[] {
    return this.#endWaiting('not-run', { errorCode: code, errorMessage: message });
  }

  /** The attempt's name of a task that an agent has; undefined if none has it. */
  attemptOf(name: string): string | undefined {
    const entry = this.#byName.get(name);
    return entry?.state === 'given' ? entry.attempt : undefined;
  }

  /** In the order of the job; every task has one when the board is settled. */
  results(): TaskResult[] {
    return this.#entries.flatMap(({ result }) => result ?? []);
  }

  /** Never the name of another task, which may end in a number as well. */
  #nameOfNext({ task, attempts }: Entry): string {
    let name = `${task.name}~${attempts}`;
    while (this.#byName.has(name) || this.#byAttempt.has(name)) name += '~';
    return name;
  }

  #endWaiting(outcome: TaskOutcome, more: Partial<TaskResult> = {}, names?: readonly string[]): TaskResult[] {
    const chosen = names === undefined ? undefined : new Set(names);
    const over: TaskResult[] = [];
    const rest: Entry[] = [];
    for (const entry of this.#waiting.slice(this.#next)) {
      if (chosen?.has(entry.task.name) === false) {
        rest.push(entry);
        continue;
      }
      entry.result = { ...this.#resultOf(entry, outcome), ...more };
      over.push(entry.result);
      this.#settle(entry);
    }
    this.#waiting = rest;
    this.#next = 0;
    return over;
  }

  #resultOf(entry: Entry, outcome: TaskOutcome): TaskResult {
    const { task, agent, attempts, mayHaveRunTwice } = entry;
    // One that never went to a second agent ran once at most.
    return { name: task.name, outcome, agent, attempts, mayHaveRunTwice: mayHaveRunTwice && attempts > 1 };
  }

  #wait(entry: Entry): void {
    entry.state = 'waiting';
    // Before others, so that the end of the job is not held up by what has waited longest.
    if (this.#next > 0) this.#waiting[--this.#next] = entry;
    else this.#waiting.unshift(entry);
  }

  #settle(entry: Entry): void {
    entry.state = 'settled';
    this.#unsettled -= 1;
  }
}
