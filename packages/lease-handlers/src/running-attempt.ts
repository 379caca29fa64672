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
  readonly cancelGraceMs: number;
}

/** What a running attempt uses, and whom it tells. */
export interface AttemptDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly folder: AttemptFolder;
  readonly logs: AttemptLogs;
  readonly onProgress: (percent: number, message: string) => void;
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
 * An abandoned handler still uses the machine: its resources and folder are kept until it returns.
 */
export class RunningAttempt implements LeaseContext {
  readonly leaseId: string;
  readonly attempt: number;
  readonly agentId: string;
  readonly cancelGraceMs: number;
  readonly resources: Readonly<Record<string, number>>;
  readonly clock: Clock;
  readonly #work: AttemptWork;
  readonly #deps: AttemptDeps;
  #controller: AbortController | undefined;
  #logger: Logger | undefined;
  #stop: StopReason | undefined;
  #limit: ScheduledCall | undefined;
  #abandon: ScheduledCall | undefined;
  #ended = false;

  constructor(work: AttemptWork, deps: AttemptDeps) {
    this.leaseId = work.leaseId;
    this.attempt = work.attempt;
    this.agentId = work.agentId;
    this.cancelGraceMs = work.cancelGraceMs;
    this.resources = work.resources;
    this.clock = deps.clock;
    this.#work = work;
    this.#deps = deps;
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
    if (!this.#ended) this.#deps.onProgress(percent, message);
  }

  log(name: string): AttemptLog {
    return this.#deps.logs.log(name);
  }

  /** True if it was told to stop. */
  get stopped(): boolean {
    return this.#stop !== undefined;
  }

  /** Starts the handler: `run` for a new attempt, `resume` for one of an earlier process. Once. */
  start(how: 'run' | 'resume'): void {
    const { handler, payload, runLimitMs } = this.#work;
    if (runLimitMs !== undefined) this.#awaitLimit(runLimitMs);
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

  #awaitLimit(leftMs: number): void {
    this.#limit = this.clock.schedule(Math.min(leftMs, timerMsMax), () => {
      if (leftMs > timerMsMax) return this.#awaitLimit(leftMs - timerMsMax);
      this.stop({ code: 'timed-out', message: `the run limit of ${this.#work.runLimitMs!} ms passed` });
    });
  }

  #returned(report: AttemptReport): void {
    this.#limit?.cancel();
    this.#abandon?.cancel();
    this.#end(report);
    this.#deps.onReturned();
  }

  #end(report: AttemptReport): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#deps.onEnded(report);
  }
}
