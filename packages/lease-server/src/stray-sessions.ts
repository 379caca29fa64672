import type { Clock, Logger, Principal, ScheduledCall } from '@drover/lease-kit';
import type { LostAttempt, SessionStore } from '@drover/lease-store';

/** What looking for stray sessions works with. */
export interface StraySessionsDeps {
  readonly serverId: string;
  readonly sessions: Pick<SessionStore, 'agents' | 'endSession'>;
  /** True for a session that this server holds or is opening now. */
  readonly isHeld: (sessionId: string) => boolean;
  /** Attempts that ended with a stray session. */
  readonly lost: (attempts: readonly LostAttempt[]) => void;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly principal: Principal;
}

const retryMs = 5_000;
const pageSize = 1_000;

/**
 * Ends sessions that the store holds as this server's and that this server does not know: opened by a call whose answer was
 * lost, or given up here. Nobody else would, for this server lives; their attempts would wait for ever for an agent that
 * does not come back. An agent that does come back has a newer session by then.
 */
export class StraySessions {
  readonly #waitMs: number;
  readonly #deps: StraySessionsDeps;
  /** When to look, by agent id. */
  readonly #doubts = new Map<string, number>();
  #timer: ScheduledCall | undefined;
  #looking = false;
  #stopped = false;

  /** `waitMs`: how long the agent has to come back, e.g. a session's time-out. */
  constructor(waitMs: number, deps: StraySessionsDeps) {
    this.#waitMs = waitMs;
    this.#deps = deps;
  }

  /** The store may hold a session of this agent that nobody knows here. */
  doubt(agentId: string): void {
    if (this.#stopped) return;
    this.#doubts.set(agentId, this.#deps.clock.monotonicMs() + this.#waitMs);
    this.#arm(this.#waitMs);
  }

  /** Looks no more. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#doubts.clear();
  }

  #arm(delayMs: number): void {
    if (this.#stopped || this.#looking || this.#doubts.size === 0) return;
    this.#timer ??= this.#deps.clock.schedule(delayMs, () => {
      this.#timer = undefined;
      void this.#look();
    });
  }

  async #look(): Promise<void> {
    const nowMs = this.#deps.clock.monotonicMs();
    const due = new Set<string>();
    for (const [agentId, dueMs] of this.#doubts) if (dueMs <= nowMs) due.add(agentId);
    this.#looking = true;
    let delayMs = Math.max(1_000, Math.min(...this.#doubts.values()) - nowMs);
    try {
      if (due.size > 0) await this.#endStrays(due);
      // One that was doubted anew meanwhile stays.
      for (const agentId of due) if ((this.#doubts.get(agentId) ?? 0) <= nowMs) this.#doubts.delete(agentId);
    } catch (error) {
      this.#deps.logger.warn({ err: error, agents: due.size }, 'could not look for stray sessions');
      delayMs = retryMs;
    }
    this.#looking = false;
    this.#arm(delayMs);
  }

  async #endStrays(due: ReadonlySet<string>): Promise<void> {
    const { sessions, serverId, principal, isHeld, lost, logger } = this.#deps;
    for (let after: string | undefined; !this.#stopped;) {
      const page = await sessions.agents(after === undefined ? { limit: pageSize } : { after, limit: pageSize }, {
        principal,
      });
      for (const { agentId, epoch, session } of page) {
        if (!due.has(agentId) || session?.serverId !== serverId || isHeld(session.sessionId)) continue;
        logger.info({ agentId, epoch, sessionId: session.sessionId }, 'a session that nobody holds is ended');
        lost(await sessions.endSession({ agentId, epoch }, 'nobody holds this session any more', { principal }));
      }
      if (page.length < pageSize) return;
      after = page.at(-1)!.agentId;
    }
  }
}
