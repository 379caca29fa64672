import type { Clock, Logger, Principal } from '@drover/lease-kit';
import { storeLimits, type DrainStore } from '@drover/lease-store';
import type { LeaseSession } from './lease-session.ts';
import { isLasting, StoreRetry } from './store-retry.ts';

/** What a keeper of drains works with. */
export interface DrainKeeperDeps {
  readonly drains: DrainStore;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly principal: Principal;
}

/** Times of a {@link DrainKeeper}. */
export interface DrainKeeperOptions {
  readonly drainTtlMs: number;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

/** A drain as a session has it. */
export type SessionDrain = NonNullable<LeaseSession['drain']>;

/**
 * Keeps drains in the store, so that they outlive this server and show in an agent's record. A session has its drain at
 * once; the store hears of it a moment later, and again when half of its time is over. For an agent that nobody drains it
 * does nothing.
 */
export class DrainKeeper {
  readonly #options: DrainKeeperOptions;
  readonly #deps: DrainKeeperDeps;
  /** What is to be written of each session: its drain, or the source whose drain has ended. */
  readonly #waiting = new Map<LeaseSession, SessionDrain | string>();
  /** Sources whose drains the store may still have, though others have taken their place. */
  readonly #replaced = new Map<LeaseSession, Set<string>>();
  readonly #stopping = new AbortController();
  #running = false;

  constructor(options: DrainKeeperOptions, deps: DrainKeeperDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** A source drains the agent, or repeats that it does. A drain of another source is over. */
  drain(session: LeaseSession, source: string, reason: string): void {
    const { drainTtlMs } = this.#options;
    const nowMs = this.#deps.clock.monotonicMs();
    const before = session.drain;
    const repeats = before?.source === source && before.reason === reason;
    const isKept = repeats && before.keptUntilMs - nowMs > drainTtlMs / 2;
    const untilMs = nowMs + drainTtlMs;
    session.drain = { source, reason, untilMs, keptUntilMs: isKept ? before.keptUntilMs : untilMs };
    if (before !== undefined && before.source !== source) {
      this.#replaced.set(session, (this.#replaced.get(session) ?? new Set()).add(before.source));
    }
    if (!isKept) this.#write(session, session.drain);
  }

  /** Its source drains the agent no more. */
  release(session: LeaseSession): void {
    const { drain } = session;
    if (drain === undefined) return;
    session.drain = undefined;
    this.#write(session, drain.source);
  }

  stop(): void {
    this.#stopping.abort();
    this.#waiting.clear();
    this.#replaced.clear();
  }

  #write(session: LeaseSession, what: SessionDrain | string): void {
    if (this.#stopping.signal.aborted) return;
    this.#waiting.set(session, what);
    if (this.#running) return;
    this.#running = true;
    void this.#run();
  }

  async #run(): Promise<void> {
    const { clock, random, logger, drains, principal } = this.#deps;
    const { retryMinMs, retryMaxMs, drainTtlMs } = this.#options;
    const retry = new StoreRetry(clock, random, retryMinMs, retryMaxMs);
    while (this.#waiting.size > 0 && !this.#stopping.signal.aborted) {
      const batch = [...this.#waiting].slice(0, storeLimits.claimMax / 4);
      const recorded = [];
      const released = [];
      for (const [session, what] of batch) {
        const { ref, ended } = session;
        if (ended) continue;
        if (typeof what === 'string') {
          const sources = (this.#replaced.get(session) ?? new Set()).add(what);
          for (const source of sources) released.push({ ...ref, source });
        } else recorded.push({ ...ref, source: what.source, reason: what.reason, ttlMs: drainTtlMs });
      }
      try {
        if (recorded.length > 0) await drains.record(recorded, { principal });
        if (released.length > 0) await drains.release(released, { principal });
        retry.succeeded();
      } catch (error) {
        logger.warn({ err: error, drains: batch.length }, 'drains are not kept yet');
        if (!isLasting(error)) {
          await retry.wait(this.#stopping.signal);
          continue;
        }
      }
      // What was said of a session meanwhile is still to be written.
      for (const [session, what] of batch) {
        if (this.#waiting.get(session) !== what) continue;
        this.#waiting.delete(session);
        this.#replaced.delete(session);
      }
    }
    this.#running = false;
  }
}
