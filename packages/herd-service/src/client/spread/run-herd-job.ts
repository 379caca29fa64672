import { setTimeout as delay } from 'node:timers/promises';
import {
  JobEnd,
  type FoundAgent,
  type HerdConnector,
  type OutputFound,
  type OutputMissing,
  type RunJobResponse,
} from '@drover/herd-protocol';
import { DroverError, isDroverError, messageOf } from '@drover/lease-kit';
import { FileDigests } from '../file-digests.ts';
import type { HerdJob } from '../job-file/herd-job.ts';
import { AgentRun } from './agent-run.ts';
import type { AgentResult, HerdJobEvent, HerdJobResult, SavedOutput, TaskResult } from './herd-job-result.ts';
import { Lanes } from './lanes.ts';
import { OutputKeeper, type FoundOutput } from './output-keeper.ts';
import { TaskBoard, type TaskAttempt } from './task-board.ts';

/** What is run where. */
export interface RunHerdJobOptions {
  /** At least one; each is asked once. */
  readonly agents: readonly FoundAgent[];
  /** Where outputs go; made when there are some. */
  readonly outputsFolder: string;
}

/** Who works together in a job. */
export interface RunHerdJobDeps {
  /** The first that speaks to an agent is used. */
  readonly connectors: readonly HerdConnector[];
  /** Default: nothing is remembered after the job. */
  readonly digests?: FileDigests | undefined;
  /** Told what happens; must not throw. */
  readonly onEvent?: ((event: HerdJobEvent) => void) | undefined;
}

/** A job that runs. */
export interface RunningHerdJob {
  /** Comes when all is over; rejects for defects alone, and with the reason of {@link leave}. */
  readonly result: Promise<HerdJobResult>;
  /** Ends all tasks, or those named; agents are waited for. */
  cancel(tasks?: readonly string[]): void;
  /** Leaves at once: agents end what runs after their grace. */
  leave(reason: unknown): void;
}

const savedAtOnce = 8;
const saveAttemptsMax = 6;
const saveAgainMs = 500;

/**
 * Spreads a job's tasks over agents. Each gets the job's files, then tasks as it asks for them: work goes to whoever is free.
 * Tasks of an agent that is lost, refuses or gives up go to the others; one that failed is run again only as its `retries` say.
 * Outputs are brought here from wherever they are; a task counts as done when its own are here.
 */
export function runHerdJob(job: HerdJob, options: RunHerdJobOptions, deps: RunHerdJobDeps): RunningHerdJob {
  const run = new HerdJobRun(job, options, deps);
  const result = run.run();
  return { result, cancel: (tasks) => run.cancel(tasks), leave: (reason) => run.leave(reason) };
}

/** What is known of the outputs of an attempt. */
interface AttemptOutputs {
  readonly found: OutputFound[];
  readonly missing: OutputMissing[];
  result: TaskResult | undefined;
  isBringing: boolean;
}

class HerdJobRun {
  readonly #job: HerdJob;
  readonly #options: RunHerdJobOptions;
  readonly #deps: RunHerdJobDeps;
  readonly #board: TaskBoard;
  readonly #outputs: OutputKeeper;
  readonly #leaving = new AbortController();
  readonly #agents: AgentRun[] = [];
  readonly #attempts = new Map<string, AttemptOutputs>();
  readonly #lanes = new Map<AgentRun, Lanes>();
  /** Outputs of the job that are on their way. */
  readonly #bringing = new Set<Promise<void>>();
  readonly #lost: string[] = [];
  /** Agents that have not come to an end. */
  #agentsLeft: number;
  /** Aborted when no agent needs to be made ready any more. */
  readonly #prepared = new AbortController();
  #isCancelled = false;
  #isScheduled = false;

  constructor(job: HerdJob, options: RunHerdJobOptions, deps: RunHerdJobDeps) {
    this.#job = job;
    this.#options = options;
    this.#deps = deps;
    this.#board = new TaskBoard(job.tasks);
    this.#agentsLeft = options.agents.length;
    this.#outputs = new OutputKeeper(options.outputsFolder);
  }

  async run(): Promise<HerdJobResult> {
    const startedAtMs = performance.now();
    const digests = this.#deps.digests ?? (await FileDigests.open());
    const runs = this.#options.agents.map((agent) => this.#runOn(agent, digests).finally(() => this.#agentEnded()));
    let agents: AgentResult[];
    try {
      agents = await Promise.all(runs);
      this.#leaving.signal.throwIfAborted();
      await Promise.all(this.#bringing);
    } finally {
      await Promise.all(this.#agents.map((run) => run.close()));
    }
    this.#leaving.signal.throwIfAborted();
    this.#giveOut();
    this.#outputs.close(this.#job, this.#lost.length === 0 ? undefined : this.#lost.join(', '));
    const tasks = this.#board.results();
    const isGood = tasks.every(({ outcome }) => outcome === 'succeeded') && this.#outputs.missing.length === 0;
    return {
      outcome: isGood ? 'succeeded' : this.#isCancelled ? 'cancelled' : 'failed',
      tasks,
      outputs: this.#outputs.saved,
      missing: this.#outputs.missing,
      agents,
      tookMs: performance.now() - startedAtMs,
    };
  }

  cancel(tasks?: readonly string[]): void {
    if (tasks === undefined) {
      this.#isCancelled = true;
      this.#prepared.abort(new DOMException('The job was cancelled.', 'AbortError'));
    }
    for (const result of this.#board.cancelWaiting(tasks)) this.#emit({ kind: 'task-ended', result });
    for (const run of this.#agents) {
      const attempts = tasks
        ?.flatMap((task) => this.#board.attemptOf(task) ?? [])
        .filter((name) => run.holding.has(name));
      if (attempts === undefined || attempts.length > 0) run.cancel(attempts);
    }
    this.#finishIfSettled();
  }

  leave(reason: unknown): void {
    this.#leaving.abort(reason);
  }

  async #runOn(agent: FoundAgent, digests: FileDigests): Promise<AgentResult> {
    const connector = this.#deps.connectors.find((one) => one.speaksTo(agent));
    if (connector === undefined) {
      const message = `nothing here speaks the protocol of ${agent.name}: ${agent.protocol}`;
      const { agentId, name } = agent;
      return { agentId, name, state: 'left', code: 'AGENT_PROTOCOL_UNKNOWN', message, sentBytes: 0, tasks: 0 };
    }
    const run = new AgentRun(agent, {
      job: this.#job,
      connector,
      digests,
      signal: this.#leaving.signal,
      preparing: this.#prepared.signal,
      listener: {
        ready: () => this.#schedule(),
        response: (from, response) => this.#take(from, response),
        notAdded: (from, attempts, error) => this.#notAdded(from, attempts, error),
      },
    });
    this.#agents.push(run);
    this.#lanes.set(run, new Lanes(savedAtOnce));
    const result = await run.run();
    // It was not needed any more: that is no failure of it.
    if (result.state === 'left' && this.#prepared.signal.aborted && run.slots === 0) {
      return { ...result, state: 'done', code: undefined, message: undefined };
    }
    if (result.state !== 'done') {
      if (result.state === 'lost' && run.endedCount > 0) this.#lost.push(agent.name);
      const { code = '', message = '' } = result;
      this.#emit({ kind: 'agent-gone', agent: agent.name, code, message });
    }
    for (const name of run.holding.keys()) {
      // What it had told of before it went is brought, or has failed, by itself.
      if (this.#attempts.get(name)?.isBringing === true && result.state === 'done') continue;
      this.#again(run, name, result.message ?? 'the job ended there without it');
    }
    return result;
  }

  #agentEnded(): void {
    this.#agentsLeft -= 1;
    this.#schedule();
  }

  #again(run: AgentRun, attempt: string, why: string): void {
    run.release(attempt);
    const outputs = this.#attempts.get(attempt);
    this.#attempts.delete(attempt);
    const task = this.#board.taskOf(attempt)?.name ?? attempt;
    const result = this.#board.agentGone(attempt, run.wasAdded(attempt));
    if (result === undefined) return this.#emit({ kind: 'task-again', task, why });
    // It is over, but for outputs that went with the agent.
    if (outputs?.result === undefined) this.#emit({ kind: 'task-ended', result });
    for (const output of this.#board.taskOf(attempt)?.outputs ?? []) {
      this.#outputs.isMissing(output, task, 'AGENT_LOST', `${run.agent.name} is gone, and the output with it`);
    }
  }

  /** Many things happen in one turn; tasks are given out once after them. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#giveOut();
    });
  }

  /** Gives waiting tasks to agents, to the least busy first. */
  #giveOut(): void {
    const open = this.#agents.filter((run) => !run.gone.aborted);
    if (this.#agentsLeft === 0 && this.#board.waitingCount > 0) {
      const message = 'no agent is left that could run it';
      for (const result of this.#board.giveUp('NO_AGENT_LEFT', message)) this.#emit({ kind: 'task-ended', result });
    }
    const batches = new Map<AgentRun, number>();
    const slots = open.reduce((total, run) => total + Math.max(1, run.slots), 0);
    let left = this.#board.waitingCount;
    const holding = (run: AgentRun): number => run.runningCount + (batches.get(run) ?? 0);
    while (left > 0) {
      // More than its slots is for when there is work for all: what an agent has waiting, no other can take.
      const able = open.filter((run) => {
        const given = batches.get(run) ?? 0;
        return run.credits > given && (left > slots || holding(run) < run.slots);
      });
      const next = able.sort((a, b) => holding(a) / Math.max(1, a.slots) - holding(b) / Math.max(1, b.slots))[0];
      if (next === undefined) break;
      batches.set(next, (batches.get(next) ?? 0) + 1);
      left -= 1;
    }
    for (const [run, count] of batches) run.give(this.#board.take(count, run.agent.name));
    this.#finishIfSettled();
  }

  #finishIfSettled(): void {
    if (!this.#board.isSettled) return;
    this.#prepared.abort(new DOMException('All tasks are done.', 'AbortError'));
    for (const run of this.#agents) run.finish();
  }

  #take(run: AgentRun, { message }: RunJobResponse): void {
    switch (message.case) {
      case 'begun':
        this.#emit({ kind: 'agent-began', agent: run.agent.name, slots: run.slots, sentBytes: run.sentBytes });
        return;
      case 'started': {
        const task = this.#board.taskOf(message.value.task)?.name;
        if (task !== undefined) this.#emit({ kind: 'task-started', task, agent: run.agent.name });
        return;
      }
      case 'item': {
        const task = this.#board.taskOf(message.value.task)?.name;
        if (task !== undefined) this.#tellItem(task, message.value.item);
        return;
      }
      case 'ended': {
        const name = message.value.task;
        if (!run.holding.has(name)) return;
        const result = this.#board.ended(name, message.value);
        if (result === undefined) {
          run.release(name);
          this.#attempts.delete(name);
          const why = message.value.errorMessage || `exit code ${message.value.exitCode ?? message.value.signal}`;
          this.#emit({ kind: 'task-again', task: this.#board.taskOf(name)!.name, why });
        } else {
          this.#outputsOf(name).result = result;
          this.#emit({ kind: 'task-ended', result });
          this.#bringIfAnswered(run, name);
        }
        this.#schedule();
        return;
      }
      case 'output':
        if (message.value.task === '') this.#bringOfJob(run, message.value);
        else if (run.holding.has(message.value.task)) {
          this.#outputsOf(message.value.task).found.push(message.value);
          this.#bringIfAnswered(run, message.value.task);
        }
        return;
      case 'missing': {
        const { task, path, code, message: text } = message.value;
        const output = this.#job.outputs.find((one) => one.path === path);
        if (task === '' && output !== undefined) this.#outputs.isMissing(output, undefined, code, text);
        else if (run.holding.has(task)) {
          this.#outputsOf(task).missing.push(message.value);
          this.#bringIfAnswered(run, task);
        }
        return;
      }
      case 'jobEnded':
        // Somebody else has cancelled it there: it is not to begin anew elsewhere.
        if (message.value.end === JobEnd.CANCELLED && !this.#isCancelled) this.cancel();
        return;
      default:
    }
  }

  #tellItem(task: string, item: (RunJobResponse['message'] & { case: 'item' })['value']['item']): void {
    switch (item.case) {
      case 'progress':
        return this.#emit({ kind: 'task-progress', task, percent: Math.min(100, Math.max(0, item.value)) });
      case 'evaluation':
        return this.#emit({ kind: 'task-evaluation', task, x: item.value.x, y: item.value.y });
      case 'message':
      case 'error':
        return this.#emit({ kind: 'task-message', task, text: item.value, isError: item.case === 'error' });
      case 'dropped':
        return this.#emit({ kind: 'task-dropped', task, items: Number(item.value) });
      default:
    }
  }

  #outputsOf(attempt: string): AttemptOutputs {
    let outputs = this.#attempts.get(attempt);
    if (outputs === undefined) {
      outputs = { found: [], missing: [], result: undefined, isBringing: false };
      this.#attempts.set(attempt, outputs);
    }
    return outputs;
  }

  /** When the agent has said all of an ended task's outputs, they are brought here, and the task is settled. */
  #bringIfAnswered(run: AgentRun, attempt: string): void {
    const outputs = this.#outputsOf(attempt);
    const { result, found, missing } = outputs;
    const task = this.#board.taskOf(attempt)!;
    if (result === undefined || outputs.isBringing || found.length + missing.length < task.outputs.length) return;
    outputs.isBringing = true;
    const bring = async (): Promise<void> => {
      const wanted = found.flatMap((one): FoundOutput[] => {
        const output = task.outputs.find(({ path }) => path === one.file?.path);
        return output === undefined ? [] : [{ output, found: one, task: task.name }];
      });
      const ends = await Promise.all(wanted.map((one) => this.#bring(run, one)));
      // Its agent went away: the task is run again, or was told of as missing.
      if (!run.holding.has(attempt)) return;
      if (ends.includes('gone')) return this.#again(run, attempt, `${run.agent.name} is gone`);
      for (const { path, code, message } of missing) {
        const output = task.outputs.find((one) => one.path === path);
        if (output !== undefined) this.#outputs.isMissing(output, task.name, code, message);
      }
      this.#attempts.delete(attempt);
      run.release(attempt);
      this.#board.settled(attempt);
    };
    // Without outputs it is settled in the same turn: thousands of small tasks end so.
    if (found.length === 0) void bring().then(() => this.#schedule());
    else this.#track(bring());
  }

  #bringOfJob(run: AgentRun, found: OutputFound): void {
    const output = this.#job.outputs.find(({ path }) => path === found.file?.path);
    if (output !== undefined) this.#track(this.#bring(run, { output, found }).then(() => undefined));
  }

  /** Brings one output here; what cannot be brought is noted as missing. */
  async #bring(run: AgentRun, one: FoundOutput): Promise<'here' | 'missing' | 'gone'> {
    const signal = this.#leaving.signal;
    const save = (): Promise<SavedOutput | undefined> => this.#outputs.save(run.link, one, signal);
    for (let attempt = 1; ; attempt++) {
      try {
        const output = await this.#lanes.get(run)!.run(save);
        if (output !== undefined) this.#emit({ kind: 'output', output });
        return 'here';
      } catch (error) {
        if (signal.aborted) return 'missing';
        const mayComeBack = isDroverError(error) && error.advice === 'unavailable';
        // Whether the agent is lost is found out by the job's stream; then its tasks go elsewhere.
        if (mayComeBack && attempt < saveAttemptsMax) await delay(saveAgainMs, undefined, { signal }).catch(() => 0);
        if (mayComeBack && run.gone.aborted && one.task !== undefined) return 'gone';
        if (mayComeBack && attempt < saveAttemptsMax && !run.gone.aborted) continue;
        this.#outputs.failed(one.output, one.task, error);
        return 'missing';
      }
    }
  }

  #track(work: Promise<void>): void {
    const tracked = work.finally(() => {
      this.#bringing.delete(tracked);
      this.#schedule();
    });
    this.#bringing.add(tracked);
  }

  #notAdded(run: AgentRun, attempts: readonly TaskAttempt[], error: unknown): void {
    // A file of the task that cannot be read here can be read for no agent: the task is over, and the others are not.
    const isOwn = !isDroverError(error) || error.advice === 'fix-input' || error.code === 'INPUT_CHANGED';
    for (const { name, task } of attempts) {
      if (!run.holding.has(name)) continue;
      if (!isOwn) {
        this.#again(run, name, messageOf(error));
        continue;
      }
      run.release(name);
      const code = error instanceof DroverError ? error.code : 'INPUT_NOT_READ';
      const result = this.#board.failedHere(name, code, messageOf(error));
      if (result !== undefined) this.#emit({ kind: 'task-ended', result });
      for (const output of task.outputs) {
        this.#outputs.isMissing(output, task.name, 'OUTPUT_NOT_FOUND', 'the task did not run');
      }
    }
    this.#schedule();
  }

  #emit(event: HerdJobEvent): void {
    this.#deps.onEvent?.(event);
  }
}
