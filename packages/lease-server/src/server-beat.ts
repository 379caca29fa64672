import type { Clock, Logger, Principal, ScheduledCall } from '@drover/lease-kit';
import type { LeaseQueue, LostAttempt, OverdueLeases, SessionStore } from '@drover/lease-store';

/** What a beat works with. */
export interface ServerBeatDeps {
  readonly sessions: Pick<SessionStore, 'beat' | 'sweep'>;
  readonly queue: Pick<LeaseQueue, 'expire'>;
  readonly principal: Principal;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  /** Attempts that ended because the server of their session died. */
  readonly lost: (attempts: readonly LostAttempt[]) => void;
  /** Leases whose whole time is over. */
  readonly overdue: (leases: OverdueLeases) => void;
  /** The store was away for so long that other servers may have ended this one's sessions. */
  readonly outlived: () => void;
}

/** Times of a {@link ServerBeat}. */
export interface ServerBeatOptions {
  readonly serverId: string;
  readonly beatMs: number;
  readonly serverTtlMs: number;
  readonly takeoverGraceMs: number;
}

const sweptMax = 1_000;

/**
 * Says that the server lives, one row for all its sessions, and ends what nobody else ends: the sessions of servers that do
 * not live any more, attempts whose agents stay away for too long, and leases whose time is over.
 */
export class ServerBeat {
  readonly #options: ServerBeatOptions;
  readonly #deps: ServerBeatDeps;
  #timer: ScheduledCall | undefined;
  #lastMs: number | undefined;
  #failing = false;
  #stopped = false;
  #running: Promise<void> = Promise.resolve();

  constructor(options: ServerBeatOptions, deps: ServerBeatDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** The last beat reached the store, and not too long ago. */
  get healthy(): boolean {
    const { clock } = this.#deps;
    return (
      !this.#failing && this.#lastMs !== undefined && clock.monotonicMs() - this.#lastMs < this.#options.serverTtlMs
    );
  }

  /** Beats once, then regularly. Resolves after the first one, which may have failed. */
  start(): Promise<void> {
    this.#running = this.#once();
    return this.#running;
  }

  /** No beat follows; resolves when the one under way is over. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  async #once(): Promise<void> {
    const { sessions, queue, clock, logger, principal, random } = this.#deps;
    const { beatMs, serverTtlMs, takeoverGraceMs, serverId } = this.#options;
    const sentMs = clock.monotonicMs();
    try {
      await sessions.beat(serverId, { principal });
      if (this.#lastMs !== undefined && sentMs - this.#lastMs > serverTtlMs + takeoverGraceMs) this.#deps.outlived();
      this.#lastMs = sentMs;
      this.#failing = false;
      for (;;) {
        const lost = await sessions.sweep({ serverTtlMs, graceMs: takeoverGraceMs }, { principal });
        if (lost.length > 0) this.#deps.lost(lost);
        if (lost.length < sweptMax || this.#stopped) break;
      }
      for (;;) {
        const overdue = await queue.expire({ principal });
        const count = overdue.ended.length + overdue.wished.length;
        if (count > 0) this.#deps.overdue(overdue);
        if (count < sweptMax || this.#stopped) break;
      }
    } catch (error) {
      if (!this.#failing) logger.warn({ err: error }, 'the store does not answer');
      this.#failing = true;
    }
    if (this.#stopped) return;
    // Sooner while the store is away, so that the server is ready again soon after it is back.
    const delayMs = (this.#failing ? beatMs / 4 : beatMs) * (0.9 + random() / 5);
    this.#timer = clock.schedule(delayMs, () => (this.#running = this.#once()));
  }
}
