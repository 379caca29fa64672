import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  TaskEndSchema,
  type BeginJobSchema,
  type BeginOptions,
  type HerdCallContext,
  type HerdJobRunner,
  type HerdJobSession,
  type HerdStanding,
} from '@drover/herd-protocol';
import {
  principalName,
  silentLogger,
  silentMeter,
  systemClock,
  type Clock,
  type Logger,
  type Meter,
  type Principal,
} from '@drover/lease-kit';
import { createQuickRunner, type QuickRunner } from '@drover/process-runner';
import { createProgressPipes } from '@drover/progress-pipes';
import type { ResourceLedger } from '@drover/resource-ledger';
import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { checkJob } from './check-job.ts';
import { herdError } from './herd-errors.ts';
import { HerdJob } from './herd-job.ts';
import { defaultHerdLimits, type HerdLimits } from './herd-limits.ts';
import { herdMetrics } from './herd-metrics.ts';
import type { HerdContent } from './place-inputs.ts';
import { removeDeadJobs } from './remove-dead-jobs.ts';
import { removeJobFolder } from './remove-job-folder.ts';
import { SlotLedger } from './slot-ledger.ts';
import { taskEnvironment } from './task-environment.ts';

/** How an agent runs herd jobs. */
export interface HerdJobRunnerOptions {
  /** The herd's own folder on a local disk, which outlives the agent: `jobs` and `processes` are made in it. */
  readonly stateDir: string;
  /** Tasks at once. Default: logical processors less one, at least 1. */
  readonly slots?: number | undefined;
  /** How long a job goes on while nobody reads its responses, and how long its end is kept. Default 30 s. */
  readonly graceMs?: number | undefined;
  /** From SIGTERM to SIGKILL for what is cancelled. Default 10 s. */
  readonly cancelGraceMs?: number | undefined;
  /** How long outputs stay in the store at least, for their client to bring them. Default 1 h. */
  readonly outputsKeptMs?: number | undefined;
  /** Who forks, see `createQuickRunner`. Default `helper`. */
  readonly spawner?: 'helper' | 'direct' | undefined;
  /** Bounds that differ from {@link defaultHerdLimits}. */
  readonly limits?: Partial<HerdLimits> | undefined;
}

/** Who works together in a job runner. */
export interface HerdJobRunnerDeps {
  /** The machine's one ledger, which the lease agent has as well. A task takes one of its `cores`. */
  readonly ledger: ResourceLedger;
  /** The agent's own store: inputs come from it, outputs go into it. */
  readonly content: HerdContent;
  /** Default: the system's. */
  readonly clock?: Clock | undefined;
  /** Default: silence. */
  readonly logger?: Logger | undefined;
  /** Default: nothing is measured. */
  readonly meter?: Meter | undefined;
}

/** What is known of a job that runs here, or has just ended. */
export interface HerdJobView {
  readonly jobId: string;
  readonly name: string;
  readonly principal: Principal;
  readonly tasks: { readonly waiting: number; readonly running: number; readonly ended: number };
}

/** A job runner as its host has it. Disposing gives up what runs, ends it and waits for its end. */
export interface HerdJobHost extends HerdJobRunner, AsyncDisposable {
  /** False: no new jobs, and no more tasks for those that there are; what they were given runs to its end. It starts open. */
  setOpen(open: boolean): void;
  /** Ends all that runs, and all jobs, as given up: the machine is needed for something else. */
  giveUpAll(reason: { readonly code: string; readonly message: string }): void;
  /** Jobs of a principal, or of all. */
  jobs(principal?: Principal): readonly HerdJobView[];
  /** True for a folder of `jobs` in the state folder that a live job uses. */
  isJobFolder(name: string): boolean;
}

/**
 * Makes a job runner, after it has ended what an earlier one of its folder left and removed its jobs' folders. Throws
 * `HERD_SLOTS_INVALID`, `PROCESS_STATE_DIR_IN_USE` while another process has the folder, and the file system's errors.
 */
export async function createHerdJobRunner(
  options: HerdJobRunnerOptions,
  deps: HerdJobRunnerDeps,
): Promise<HerdJobHost> {
  const slots = options.slots ?? Math.max(1, availableParallelism() - 1);
  if (!Number.isSafeInteger(slots) || slots < 1 || slots > 1_024) {
    throw herdError('HERD_SLOTS_INVALID', 'fix-input', `slots is ${slots}; allowed are whole numbers from 1 to 1,024`);
  }
  const { clock = systemClock, logger = silentLogger } = deps;
  const stateDir = resolve(options.stateDir);
  const spawner = options.spawner === undefined ? {} : { spawner: options.spawner };
  const processes = createQuickRunner(
    { stateDir: join(stateDir, 'processes'), processesMax, ...spawner },
    { clock, logger },
  );
  try {
    const jobsDir = join(stateDir, 'jobs');
    mkdirSync(jobsDir, { recursive: true, mode: 0o700 });
    const ended = await processes.endLeftovers(new AbortController().signal);
    const removed = await removeDeadJobs(jobsDir, deps.content, logger);
    if (ended + removed > 0) logger.warn({ ended, removed }, 'herd jobs of an earlier run were cleared away');
    return new HerdJobs({ ...options, stateDir, jobsDir, slots }, { ...deps, clock, logger }, processes);
  } catch (error) {
    await processes.stop();
    throw error;
  }
}

/** So much work waits on an agent that its slots are never idle between two tasks, and hardly more. */
const aheadMs = 50;
const aheadMax = 256;
/** Tasks of jobs that start together may be more than slots. */
const processesMax = 4_096;
const endedJobsMax = 256;

class HerdJobs implements HerdJobHost {
  readonly #jobsDir: string;
  readonly #limits: HerdLimits;
  readonly #deps: HerdJobRunnerDeps & { readonly clock: Clock; readonly logger: Logger };
  readonly #processes: QuickRunner;
  readonly #slots: SlotLedger;
  readonly #parts: ConstructorParameters<typeof HerdJob>[1];
  readonly #jobs = new Map<string, HerdJob>();
  /** Jobs that have not ended, the one whose turn it is first. */
  #turns: HerdJob[] = [];
  /** Ids whose inputs are being placed. */
  readonly #beginning = new Set<string>();
  readonly #listeners = new Set<() => void>();
  #standing: HerdStanding;
  #open = true;
  #isDue = false;
  #meanTaskMs = 1_000;
  #stopping: Promise<void> | undefined;

  constructor(
    options: HerdJobRunnerOptions & { readonly jobsDir: string; readonly slots: number },
    deps: HerdJobRunnerDeps & { readonly clock: Clock; readonly logger: Logger },
    processes: QuickRunner,
  ) {
    this.#jobsDir = options.jobsDir;
    this.#limits = { ...defaultHerdLimits, ...options.limits };
    this.#deps = deps;
    this.#processes = processes;
    this.#slots = new SlotLedger(options.slots, deps.ledger, deps.clock, () => this.#changed());
    const metrics = herdMetrics(deps.meter ?? silentMeter, this);
    this.#parts = {
      limits: this.#limits,
      graceMs: options.graceMs ?? 30_000,
      cancelGraceMs: options.cancelGraceMs ?? 10_000,
      outputsKeptMs: options.outputsKeptMs ?? 3_600_000,
      env: taskEnvironment(process.env),
      content: deps.content,
      processes,
      pipes: createProgressPipes(
        { pipesMax: processesMax, itemsPerSecondMax: this.#limits.itemsPerSecondMax },
        { clock: deps.clock, makeFifo: (path) => processes.makeFifo(path) },
      ),
      clock: deps.clock,
      logger: deps.logger,
      onChange: () => this.#changed(),
      onTaskEnded: (end) => metrics.taskEnded(TaskEndSchema.value[end]?.localName ?? 'UNSPECIFIED'),
      onOver: (job) => this.#over(job),
      onForgotten: ({ jobId }) => void this.#jobs.delete(jobId),
    };
    this.#standing = this.#look();
  }

  standing(): HerdStanding {
    return this.#look();
  }

  onChange(listener: () => void): () => void {
    if (this.#listeners.size >= 64) {
      throw herdError('HERD_LISTENERS_TOO_MANY', 'exhausted', 'a job runner has at most 64 listeners');
    }
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async begin(
    init: MessageInitShape<typeof BeginJobSchema>,
    { principal, signal }: HerdCallContext,
    options: BeginOptions = {},
  ): Promise<HerdJobSession> {
    signal.throwIfAborted();
    const { plainNames = false } = options;
    const checked = checkJob(init, this.#limits, plainNames);
    const { jobId } = checked;
    this.#refuseIfClosed();
    if (this.#jobs.has(jobId) || this.#beginning.has(jobId)) {
      throw herdError('HERD_JOB_EXISTS', 'conflict', `There is a job ${jobId} already; each has an id of its own`);
    }
    if (this.#turns.length + this.#beginning.size >= this.#limits.jobsMax) {
      const message = `${this.#limits.jobsMax} jobs run here already, which is the most that this agent takes`;
      throw herdError('HERD_JOBS_TOO_MANY', 'exhausted', message, { retryAfterMs: 1_000 });
    }
    const dir = join(this.#jobsDir, jobId);
    const { pipesFolder, resumable: isResumable = true, rawItems = false, together: isTogether = false } = options;
    const job = new HerdJob(
      { job: checked, principal, dir, pipesFolder, isResumable, rawItems, isTogether, plainNames },
      this.#parts,
    );
    this.#beginning.add(jobId);
    try {
      await job.prepare(signal);
      signal.throwIfAborted();
      this.#refuseIfClosed();
    } catch (error) {
      await removeJobFolder(dir);
      await this.#deps.content.unpin(`herd:${jobId}`).catch(() => undefined);
      throw error;
    } finally {
      this.#beginning.delete(jobId);
    }
    this.#jobs.set(jobId, job);
    this.#turns.push(job);
    job.begin(this.#slots.total);
    this.#deps.logger.info({ jobId, name: job.name, principal: principalName(principal) }, 'herd job begun');
    this.#changed();
    return job;
  }

  find(jobId: string, { principal }: HerdCallContext): HerdJob {
    const job = this.#jobs.get(jobId);
    if (job !== undefined && principalName(job.principal) === principalName(principal)) return job;
    const message = `There is no job ${JSON.stringify(jobId.slice(0, 64))} of yours here: it has ended and was told, or its grace is over`;
    throw herdError('HERD_JOB_UNKNOWN', 'not-found', message);
  }

  setOpen(open: boolean): void {
    this.#open = open;
    this.#changed();
  }

  giveUpAll(reason: { readonly code: string; readonly message: string }): void {
    for (const job of this.#turns) job.giveUp(reason);
  }

  jobs(principal?: Principal): readonly HerdJobView[] {
    return [...this.#jobs.values()]
      .filter((job) => principal === undefined || principalName(job.principal) === principalName(principal))
      .map((job) => ({ jobId: job.jobId, name: job.name, principal: job.principal, tasks: job.counts }));
  }

  isJobFolder(name: string): boolean {
    return this.#beginning.has(name) || this.#turns.some(({ jobId }) => jobId === name);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#open = false;
    const over = new Promise<void>((resolve) => (this.#onIdle = resolve));
    this.giveUpAll({ code: 'HERD_AGENT_STOPPED', message: 'The agent is stopped' });
    if (this.#turns.length > 0) await over;
    this.#slots.stop();
    await this.#processes.stop();
    for (const job of this.#jobs.values()) job[Symbol.dispose]();
  }

  #onIdle: () => void = () => undefined;

  #refuseIfClosed(): void {
    if (this.#open) return;
    const message = 'This agent takes no herd jobs now: it drains, is disabled or stops, or its user needs the machine';
    throw herdError('HERD_CLOSED', 'unavailable', message, { retryAfterMs: 5_000 });
  }

  #over(job: HerdJob): void {
    // Its last task may have gone without having run, so that none gave the slot of all back.
    if (job.isTogether && this.#slots.has(job.jobId)) this.#slots.giveBack(job.jobId);
    this.#turns = this.#turns.filter((one) => one !== job);
    const ended = [...this.#jobs.values()].filter(({ isOver }) => isOver);
    for (const old of ended.slice(0, Math.max(0, ended.length - endedJobsMax))) {
      old[Symbol.dispose]();
      this.#jobs.delete(old.jobId);
    }
    if (this.#turns.length === 0) this.#onIdle();
    this.#changed();
  }

  /** Many changes in one turn are looked at once. */
  #changed(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => {
      this.#isDue = false;
      this.#startTasks();
      this.#tellStanding();
    });
  }

  #startTasks(): void {
    let isFull = false;
    for (;;) {
      const at = this.#turns.findIndex((job) => job.hasNext && (!isFull || this.#slots.has(job.jobId)));
      const job = this.#turns[at];
      if (job === undefined) break;
      const id = job.isTogether ? job.jobId : `${job.jobId}/${job.nextTask!}`;
      if (!this.#slots.has(id) && !this.#slots.take(id)) {
        isFull = true;
        continue;
      }
      // Its next turn comes after all the others'.
      this.#turns.splice(at, 1);
      this.#turns.push(job);
      job.startNext((tookMs) => {
        this.#meanTaskMs += (tookMs - this.#meanTaskMs) / 8;
        if (!job.isTogether || !job.hasWork) this.#slots.giveBack(id);
        this.#changed();
      });
    }
    if (!this.#open) return;
    const ahead = Math.ceil((this.#slots.total * aheadMs) / Math.max(1, this.#meanTaskMs));
    const wanted = this.#slots.free() + Math.min(aheadMax, Math.max(1, ahead));
    for (const job of this.#turns) job.grantUpTo(wanted);
  }

  #look(): HerdStanding {
    return { slotsTotal: this.#slots.total, slotsFree: this.#slots.free(), open: this.#open };
  }

  #tellStanding(): void {
    const now = this.#look();
    const before = this.#standing;
    if (now.slotsFree === before.slotsFree && now.open === before.open) return;
    this.#standing = now;
    for (const listener of [...this.#listeners]) listener();
  }
}
