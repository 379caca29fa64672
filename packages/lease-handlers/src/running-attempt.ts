import type { Message } from '@bufbuild/protobuf';
import {
  messageOf,
  type AttemptLog,
  type Clock,
  type HandlerResult,
  type LeaseContext,
  type LeaseHandler,
  type Logger,
  type ScheduledCall,
  type StopReason,
} from '@drover/lease-kit';
import { attemptEnded, goingDownNeedsResume, handOverBeforeGoingDown, untilAborted } from './attempt-promise.ts';
import type { AttemptFolder } from './attempt-folder.ts';
import { reportFromResult, reportFromStop, reportFromThrow, type AttemptReport } from './attempt-report.ts';
import type { AttemptLogs } from './log-uploader.ts';

/** One attempt to be worked on. */
export interface AttemptWork {
  readonly leaseId: string;
  readonly attempt: number;
  readonly agentId: string;
  readonly handler: LeaseHandler;
  /** A message of the handler's payload type. */
  readonly payload: Message;
  readonly resources: Readonly<Record<string, number>>;
  /** Undefined: no limit. */
  readonly runLimitMs: number | undefined;
  /** How long it may go without progress; undefined: no limit. */
  readonly progressMsMax: number | undefined;
  readonly cancelGraceMs: number;
  readonly bootId: string;
}

/** What a running attempt uses, and whom it tells. */
export interface AttemptDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly folder: AttemptFolder;
  readonly logs: AttemptLogs;
  readonly onProgress: (percent: number, message: string) => void;
  /** The handler says that it goes down: once; answer with {@link RunningAttempt.toldGoingDown}. */
  readonly onGoingDown: () => void;
  /** The handler wants this process to end. */
  readonly onHandOver: () => void;
  /** Asks for the secrets of the lease; what they are is blotted out from then on. */
  readonly secrets: () => Promise<ReadonlyMap<string, Uint8Array>>;
  /** Resolves when the agent has a session. */
  readonly connected: () => Promise<void>;
  /** How the attempt ended: once. */
  readonly onEnded: (report: AttemptReport) => void;
  /** The handler has returned and uses nothing any more: once, with or after `onEnded`. */
  readonly onReturned: () => void;
}

/** How long past its grace period a handler that was stopped has to return: it may still be saving what it can. */
export const abandonAfterGraceMs = 5_000;

/** Timers take no more than this; longer run limits are waited for in parts. */
const timerMsMax = 2 ** 31 - 1;

/**
 * Runs a handler on one attempt.
 *
 * ```
 *   running ──returns──▶ ended, returned
 *      │ stop, run limit
 *      ▼
 *   stopping ──returns──▶ ended, returned
 *      │ grace + 5 s
 *      ▼
 *   abandoned: ended as failed, HANDLER_DID_NOT_STOP ──returns, whenever──▶ returned
 * ```
 *
 *   running, having said that it goes down ──the process ends──▶ left: nothing is told of it here
 *
 * An abandoned handler still uses the machine: its resources and folder are kept until it returns.
 */
export class RunningAttempt implements LeaseContext {
  readonly leaseId: string;
  readonly attempt: number;
  readonly agentId: string;
  readonly cancelGraceMs: number;
  readonly resources: Readonly<Record<string, number>>;
  readonly bootId: string;
  readonly clock: Clock;
  readonly #work: AttemptWork;
  readonly #deps: AttemptDeps;
  #controller: AbortController | undefined;
  #logger: Logger | undefined;
  #stop: StopReason | undefined;
  #limit: ScheduledCall | undefined;
  #abandon: ScheduledCall | undefined;
  #idle: ScheduledCall | undefined;
  /** Calls of `progress`. */
  #progressed = 0;
  #ended = false;
  /** What {@link goingDown} waits for, once it was called. */
  #goingDown: PromiseWithResolvers<void> | undefined;
  #isTold = false;
  #ending: AbortController | undefined;

  constructor(work: AttemptWork, deps: AttemptDeps) {
    this.leaseId = work.leaseId;
    this.attempt = work.attempt;
    this.agentId = work.agentId;
    this.cancelGraceMs = work.cancelGraceMs;
    this.resources = work.resources;
    this.bootId = work.bootId;
    this.clock = deps.clock;
    this.#work = work;
    this.#deps = deps;
    // Handlers take a context apart: `run(payload, { progress, log })`.
    this.progress = this.progress.bind(this);
    this.log = this.log.bind(this);
    this.goingDown = this.goingDown.bind(this);
    this.handOver = this.handOver.bind(this);
    this.connected = this.connected.bind(this);
  }

  get attemptDir(): string {
    return this.#deps.folder.workDir();
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#stop && !this.#controller.signal.aborted) this.#controller.abort(this.#stop);
    return this.#controller.signal;
  }

  get logger(): Logger {
    this.#logger ??= this.#deps.logger.child({ leaseId: this.leaseId, attempt: this.attempt });
    return this.#logger;
  }

  progress(percent: number, message = ''): void {
    if (this.#ended) return;
    this.#progressed += 1;
    this.#deps.onProgress(percent, message);
  }

  log(name: string): AttemptLog {
    return this.#deps.logs.log(name);
  }

  async secrets(signal?: AbortSignal): Promise<ReadonlyMap<string, string>> {
    const found = await untilAborted(this.#deps.secrets(), signal, this.#ends());
    const decoder = new TextDecoder();
    return new Map([...found].map(([name, value]) => [name, decoder.decode(value)]));
  }

  goingDown(signal?: AbortSignal): Promise<void> {
    const { handler } = this.#work;
    if (!handler.resume) return Promise.reject(goingDownNeedsResume(handler.type.name));
    if (this.#ended) return Promise.reject(attemptEnded(this.leaseId, this.attempt));
    if (!this.#goingDown) {
      this.#goingDown = Promise.withResolvers();
      this.#deps.onGoingDown();
    }
    return untilAborted(this.#goingDown.promise, signal, this.#ends());
  }

  handOver(): void {
    if (!this.#isTold) throw handOverBeforeGoingDown(this.#work.handler.type.name);
    if (!this.#ended) this.#deps.onHandOver();
  }

  connected(signal?: AbortSignal): Promise<void> {
    return untilAborted(this.#deps.connected(), signal, this.#ends());
  }

  /** A server has persisted that the agent goes down because of this attempt. */
  toldGoingDown(): void {
    this.#isTold = true;
    this.#goingDown?.resolve();
  }

  /** True if it was told to stop. */
  get stopped(): boolean {
    return this.#stop !== undefined;
  }

  /** Starts the handler: `run` for a new attempt, `resume` for one of an earlier process. Once. */
  start(how: 'run' | 'resume'): void {
    const { handler, payload, runLimitMs } = this.#work;
    if (runLimitMs !== undefined) this.#awaitLimit(runLimitMs);
    this.#awaitProgress();
    let running: Promise<HandlerResult>;
    try {
      running = how === 'run' ? handler.run(payload, this) : handler.resume!(payload, this);
    } catch (error) {
      running = Promise.reject(error);
    }
    running.then(
      (result) => this.#returned(reportFromResult(handler, result, this.#stop)),
      (error: unknown) => {
        if (!this.#stop) this.logger.warn({ err: error }, `handler of ${handler.type.name} threw: ${messageOf(error)}`);
        this.#returned(reportFromThrow(error, this.#stop));
      },
    );
  }

  /** Asks the handler to stop; the first reason stands. */
  stop(reason: StopReason): void {
    if (this.#stop || this.#ended) return;
    this.#stop = reason;
    this.#limit?.cancel();
    this.#idle?.cancel();
    const patienceMs = Math.min(timerMsMax, this.cancelGraceMs + abandonAfterGraceMs);
    this.#abandon = this.clock.schedule(patienceMs, () => {
      this.logger.error({ stop: reason.code, patienceMs }, 'handler did not stop; it is abandoned');
      this.#end({
        outcome: 'failed',
        reason: {
          code: 'HANDLER_DID_NOT_STOP',
          message: `told to stop (${reportFromStop(reason).reason!.code}), the handler did not return within ${patienceMs} ms`,
        },
      });
    });
    this.#controller?.abort(reason);
  }

  /** Ends the work on it here without an end of the attempt: a later process resumes it. False if it has ended. */
  leave(message: string): boolean {
    if (this.#ended) return false;
    this.#ended = true;
    for (const timer of [this.#limit, this.#idle, this.#abandon]) timer?.cancel();
    this.#stop = { code: 'going-down', message };
    this.#controller?.abort(this.#stop);
    this.#ending?.abort(attemptEnded(this.leaseId, this.attempt));
    return true;
  }

  #awaitLimit(leftMs: number): void {
    this.#limit = this.clock.schedule(Math.min(leftMs, timerMsMax), () => {
      if (leftMs > timerMsMax) return this.#awaitLimit(leftMs - timerMsMax);
      this.stop({ code: 'timed-out', message: `the run limit of ${this.#work.runLimitMs!} ms passed` });
    });
  }

  /** Looks once in each period whether anything happened in it: between one and two periods pass without, at the most. */
  #awaitProgress(): void {
    const { progressMsMax } = this.#work;
    if (progressMsMax === undefined) return;
    const seen = this.#signsOfLife();
    let leftMs = progressMsMax;
    const wait = (): void => {
      const partMs = Math.min(leftMs, timerMsMax);
      this.#idle = this.clock.schedule(partMs, () => {
        leftMs -= partMs;
        if (this.#signsOfLife() !== seen) return this.#awaitProgress();
        if (leftMs > 0) return wait();
        const message = `there was no progress for ${progressMsMax} ms`;
        this.stop({ code: 'timed-out', reasonCode: 'NO_PROGRESS', message });
      });
    };
    wait();
  }

  #signsOfLife(): number {
    return this.#progressed + this.#deps.logs.writtenBytes;
  }

  /** Aborted when the attempt ends, whatever waits for something then. */
  #ends(): AbortSignal {
    this.#ending ??= new AbortController();
    if (this.#ended) this.#ending.abort(attemptEnded(this.leaseId, this.attempt));
    return this.#ending.signal;
  }

  #returned(report: AttemptReport): void {
    this.#limit?.cancel();
    this.#abandon?.cancel();
    this.#idle?.cancel();
    this.#end(report);
    this.#deps.onReturned();
  }

  #end(report: AttemptReport): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#ending?.abort(attemptEnded(this.leaseId, this.attempt));
    this.#deps.onEnded(report);
  }
}
