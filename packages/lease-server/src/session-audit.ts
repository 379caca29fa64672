import { delay, type Clock, type Logger, type Principal, type ScheduledCall } from '@drover/lease-kit';
import type { AttemptStore } from '@drover/lease-store';
import { keyString } from '@drover/reconciler-state-machine';
import { heldAttemptOf, type LeaseSession } from './lease-session.ts';

/** What an audit works with. */
export interface SessionAuditDeps {
  readonly attempts: Pick<AttemptStore, 'boundTo'>;
  /** The sessions that hold attempts now. */
  readonly holding: () => Iterable<LeaseSession>;
  /** A session may take work again, or no more. */
  readonly changed: (session: LeaseSession) => void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly principal: Principal;
}

/** Comparisons under way at once. */
const workersMax = 4;
const retryMs = 1_000;
/** Wait before a session is compared again that changed while it was compared. */
const againMs = 50;
/** A call without an answer may still be carried out a while later: so many intervals compare its sessions again. */
const doubtRounds = 4;

/**
 * Compares what sessions hold with what the store has bound to them: cancel wishes that another server recorded, and
 * attempts that were bound by a call whose answer was lost. Signals and failures name single sessions; an interval takes all
 * that hold attempts, in case a signal was lost.
 */
export class SessionAudit {
  readonly #intervalMs: number;
  readonly #deps: SessionAuditDeps;
  readonly #due = new Set<LeaseSession>();
  /** Sessions in doubt, with the intervals for which they are compared again even if they hold nothing. */
  readonly #doubted = new Map<LeaseSession, number>();
  readonly #stopping = new AbortController();
  #workers = 0;
  #timer: ScheduledCall | undefined;

  constructor(intervalMs: number, deps: SessionAuditDeps) {
    this.#intervalMs = intervalMs;
    this.#deps = deps;
  }

  start(): void {
    this.#timer = this.#deps.clock.schedule(this.#intervalMs * (0.75 + this.#deps.random() / 2), () => {
      this.start();
      this.add([...this.#deps.holding(), ...this.#takeDoubted()]);
    });
  }

  stop(): void {
    this.#timer?.cancel();
    this.#stopping.abort();
    this.#due.clear();
    this.#doubted.clear();
  }

  /** Compares these soon; until then they get no work, since nobody knows what they have. */
  doubt(sessions: readonly LeaseSession[]): void {
    for (const session of sessions) {
      session.uncertain = true;
      this.#doubted.set(session, doubtRounds);
      this.#deps.changed(session);
    }
    this.add(sessions);
  }

  /** Compares these soon. */
  add(sessions: readonly LeaseSession[]): void {
    if (this.#stopping.signal.aborted) return;
    for (const session of sessions) this.#due.add(session);
    while (this.#workers < Math.min(workersMax, this.#due.size)) {
      this.#workers += 1;
      void this.#work();
    }
  }

  #takeDoubted(): LeaseSession[] {
    for (const [session, rounds] of this.#doubted) {
      if (session.ended || rounds === 0) this.#doubted.delete(session);
      else this.#doubted.set(session, rounds - 1);
    }
    return [...this.#doubted.keys()];
  }

  async #work(): Promise<void> {
    const { signal } = this.#stopping;
    for (let session = this.#take(); session !== undefined; session = this.#take()) {
      try {
        await this.#compare(session);
      } catch (error) {
        this.#deps.logger.warn({ err: error, agentId: session.agentId }, 'could not compare a session with the store');
        if (!session.ended && !signal.aborted) this.#due.add(session);
        await delay(this.#deps.clock, retryMs, signal);
      }
    }
    this.#workers -= 1;
  }

  #take(): LeaseSession | undefined {
    for (const session of this.#due) {
      this.#due.delete(session);
      if (!session.ended) return session;
    }
    return undefined;
  }

  async #compare(session: LeaseSession): Promise<void> {
    const { version } = session;
    const records = await this.#deps.attempts.boundTo(session.ref, { principal: this.#deps.principal });
    if (session.ended) return;
    for (const record of records) {
      if (record.state === 'cancelling')
        session.wishCancel(keyString(record), record.cancelReason ?? '', record.cancelCode);
    }
    const missing = records.filter((record) => !session.held.has(keyString(record)));
    // What came or went while the store answered may be what seems to be missing.
    if (missing.length > 0 && (session.version !== version || session.asking)) {
      await delay(this.#deps.clock, againMs, this.#stopping.signal);
      this.#due.add(session);
      return;
    }
    session.assign(missing.map((record) => heldAttemptOf(record)));
    if (!session.uncertain) return;
    session.uncertain = false;
    this.#deps.changed(session);
  }
}
