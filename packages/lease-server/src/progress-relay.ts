import type { Clock, Logger, Principal, ScheduledCall } from '@drover/lease-kit';
import type { LeaseProgress } from '@drover/lease-protocol';
import type { JobStore, StoreSignals } from '@drover/lease-store';
import { isLasting } from './store-retry.ts';

/** What a relay works with. */
export interface ProgressRelayDeps {
  readonly jobs: Pick<JobStore, 'recordProgress'>;
  readonly signals: Pick<StoreSignals, 'announce'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly principal: Principal;
}

/** Most entries that one call carries and that wait; further attempts' progress is dropped until there is room. */
const entriesMax = 4_096;
const waitingMax = 4 * entriesMax;
const messageLengthMax = 1_024;

type Entry = Parameters<JobStore['recordProgress']>[0][number] & {
  /** Whose watchers are told; absent while it is not known. */
  readonly jobId?: string;
};

/** Carries the newest progress of attempts to the store, each at most once in an interval. Losing some does no harm. */
export class ProgressRelay {
  readonly #intervalMs: number;
  readonly #deps: ProgressRelayDeps;
  readonly #newest = new Map<string, Entry>();
  #timer: ScheduledCall | undefined;
  #flushing = false;
  #stopped = false;

  constructor(intervalMs: number, deps: ProgressRelayDeps) {
    this.#intervalMs = intervalMs;
    this.#deps = deps;
  }

  /** Replaces what waits for the same attempt. */
  add(key: string, progress: LeaseProgress, jobId: string | undefined): void {
    if (this.#stopped || (this.#newest.size >= waitingMax && !this.#newest.has(key))) return;
    this.#newest.set(key, {
      leaseId: progress.leaseId,
      attempt: progress.attempt,
      percent: Math.min(100, progress.percent),
      message: progress.message.slice(0, messageLengthMax),
      ...(jobId === undefined ? {} : { jobId }),
    });
    this.#schedule();
  }

  /** Stores what waits, once, and takes nothing more. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#stopped = true;
    if (!this.#flushing) await this.#flush();
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#flushing || this.#stopped) return;
    this.#timer = this.#deps.clock.schedule(this.#intervalMs, () => {
      this.#timer = undefined;
      void this.#flush();
    });
  }

  async #flush(): Promise<void> {
    this.#flushing = true;
    while (this.#newest.size > 0) {
      const batch = [...this.#newest].slice(0, entriesMax);
      for (const [key] of batch) this.#newest.delete(key);
      try {
        await this.#deps.jobs.recordProgress(
          batch.map(([, { jobId: _jobId, ...entry }]) => entry),
          { principal: this.#deps.principal },
        );
        const jobIds = new Set(batch.map(([, { jobId }]) => jobId));
        for (const jobId of jobIds) if (jobId !== undefined) this.#deps.signals.announce({ kind: 'job', jobId });
      } catch (error) {
        this.#deps.logger.warn({ err: error, entries: batch.length }, 'progress was not stored');
        if (isLasting(error)) continue;
        // Kept for the next interval, unless newer progress has come meanwhile.
        for (const [key, entry] of batch) if (!this.#newest.has(key)) this.#newest.set(key, entry);
        break;
      }
    }
    this.#flushing = false;
    if (this.#newest.size > 0) this.#schedule();
  }
}
