import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AgentPolicy } from '@drover/fleet-policy';
import { delay, type Clock, type Logger, type TaskSource } from '@drover/lease-kit';
import { askSources, type AskOutcome, type Candidate } from '@drover/task-sources';
import type { DrainKeeper } from './drain-keeper.ts';
import { heldAttempt, type HeldAttempt } from './held-attempt.ts';
import type { LeaseSession } from './lease-session.ts';
import { StoreRetry } from './store-retry.ts';

/** What an assignment loop works with. */
export interface AssignmentLoopDeps {
  readonly sources: readonly TaskSource[];
  readonly drains: Pick<DrainKeeper, 'drain' | 'release'>;
  /** Sessions that may have been bound to without an answer: compare them with the store. */
  readonly doubt: (sessions: readonly LeaseSession[]) => void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
}

/** Times of an {@link AssignmentLoop}. */
export interface AssignmentLoopOptions {
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

/** A round over thousands of agents that took this long is followed by a rest, so that rounds never fill the process. */
const longRoundMs = 2;
const restShare = 5;
const restMsMax = 100;

/**
 * Asks the sources about agents that could take work: one round at a time, all agents that something happened to in one
 * batch. An agent about which a round found nothing is *hungry* until a source has work again: whoever submits leases in
 * this process may bind them to it at once.
 *
 * ```
 *              work, completion, connection, condition
 *   (at rest) ─────────────────────────────────────────▶ wanted ──round starts──▶ asking
 *                                                           ▲                       │ nothing found
 *                        a source has work                  │                       ▼
 *   all that take work ─────────────────────────────────────┴──────────────────── hungry ──reserved──▶ (at rest)
 * ```
 */
export class AssignmentLoop {
  readonly #options: AssignmentLoopOptions;
  readonly #deps: AssignmentLoopDeps;
  readonly #retry: StoreRetry;
  /** No round starts any more. */
  readonly #stopping = new AbortController();
  /** The round under way is given up. */
  readonly #ending = new AbortController();
  /** Sessions that take work, whatever is known about them. */
  readonly #able = new Set<LeaseSession>();
  readonly #wanted = new Set<LeaseSession>();
  readonly #hungry = new Set<LeaseSession>();
  /** Grows when a source says that it may have work: what was found before says nothing any more. */
  #generation = 0;
  #active = false;
  #running: Promise<void> = Promise.resolve();
  #unlisten: (() => void)[] = [];

  constructor(options: AssignmentLoopOptions, deps: AssignmentLoopDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#retry = new StoreRetry(deps.clock, deps.random, options.retryMinMs, options.retryMaxMs);
  }

  /** Agents that wait for work, the one that has waited longest first. */
  get hungry(): Iterable<LeaseSession> {
    return this.#hungry;
  }

  get hungryCount(): number {
    return this.#hungry.size;
  }

  /** Listens to the sources from now on. */
  start(): void {
    this.#unlisten = this.#deps.sources.map(
      (source) => source.onWork?.(() => this.#workAppeared()) ?? ((): void => undefined),
    );
  }

  /**
   * No round starts any more; resolves when the one under way is over. It is let go on: what it has bound would be lost with
   * it, an attempt of each of its leases.
   */
  async stop(): Promise<void> {
    this.#stopping.abort();
    for (const unlisten of this.#unlisten) unlisten();
    this.#unlisten = [];
    this.#hungry.clear();
    this.#wanted.clear();
    while (this.#active) await this.#running;
  }

  /** Gives up the round under way. */
  abort(): void {
    this.#ending.abort();
  }

  /** Something happened to a session that bears on what it may take. */
  changed(session: LeaseSession): void {
    if (this.#stopping.signal.aborted) return;
    this.#hungry.delete(session);
    if (!session.takesWork) {
      this.#able.delete(session);
      this.#wanted.delete(session);
      return;
    }
    this.#able.add(session);
    this.#want(session);
  }

  /** A hungry session was given something that no round knows of; `stillHungry` if it has room left. */
  served(session: LeaseSession, stillHungry: boolean): void {
    // Deleted and added again: the next lease goes to the agent that has waited longest.
    this.#hungry.delete(session);
    // It may have been set aside while the lease was committed.
    if (stillHungry && hungers(session)) this.#hungry.add(session);
  }

  #workAppeared(): void {
    if (this.#stopping.signal.aborted) return;
    this.#generation += 1;
    this.#hungry.clear();
    for (const session of this.#able) this.#wanted.add(session);
    this.#kick();
  }

  #want(session: LeaseSession): void {
    this.#wanted.add(session);
    this.#kick();
  }

  #kick(): void {
    if (this.#active || this.#wanted.size === 0) return;
    this.#active = true;
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    // What else this turn of the event loop brings belongs to the same round, and what it has to send goes first.
    await nextTurn();
    while (this.#wanted.size > 0 && !signal.aborted) {
      const startMs = this.#deps.clock.monotonicMs();
      const sessions = [...this.#wanted].filter((session) => session.takesWork);
      this.#wanted.clear();
      if (sessions.length === 0) continue;
      const generation = this.#generation;
      for (const session of sessions) session.asking = true;
      const candidates = sessions.map((session) => this.#candidate(session));
      const askedMs = this.#deps.clock.monotonicMs();
      const outcome = await askSources(this.#deps.sources, candidates, { signal: this.#ending.signal });
      const answeredMs = this.#deps.clock.monotonicMs();
      for (const session of sessions) session.asking = false;
      const failed = this.#apply(sessions, outcome, generation);
      const ownMs = askedMs - startMs + (this.#deps.clock.monotonicMs() - answeredMs);
      if (ownMs >= longRoundMs) await delay(this.#deps.clock, Math.min(restMsMax, restShare * ownMs), signal);
      if (failed.length === 0) {
        this.#retry.succeeded();
        continue;
      }
      // They are wanted again when they were compared with the store, or now if it was the source that failed.
      await this.#retry.wait(signal);
      for (const session of failed) if (session.takesWork) this.#wanted.add(session);
    }
    this.#active = false;
  }

  #candidate(session: LeaseSession): Candidate {
    const { drain, policy } = session;
    const standing = { enabled: worksFor(policy), inDowntime: policy.downtime !== undefined };
    if (drain !== undefined && drain.untilMs <= this.#deps.clock.monotonicMs()) this.#deps.drains.release(session);
    return session.drain === undefined
      ? { view: session.view, ...standing }
      : { view: session.view, ...standing, drainedBy: session.drain.source };
  }

  /** Hands out what a round brought; answers the sessions about which a source failed. */
  #apply(sessions: readonly LeaseSession[], outcome: AskOutcome, generation: number): LeaseSession[] {
    const { logger } = this.#deps;
    const byAgent = new Map(sessions.map((session) => [session.agentId, session]));
    const busy = new Set<LeaseSession>();
    const failed = new Set<LeaseSession>();
    for (const { source, agents, error } of outcome.failures) {
      logger.warn({ source, err: error, agents: agents.length }, 'a task source failed');
      for (const { agentId } of agents) failed.add(byAgent.get(agentId)!);
    }
    for (const agentId of outcome.released) this.#deps.drains.release(byAgent.get(agentId)!);
    for (const [agentId, { source, reason }] of outcome.drains) {
      const session = byAgent.get(agentId)!;
      if (session.drain?.source !== source) logger.info({ agentId, source, reason }, 'a source drains the agent');
      this.#deps.drains.drain(session, source, reason);
      busy.add(session);
    }
    const fresh = new Map<LeaseSession, HeldAttempt[]>();
    for (const { source, attempt } of outcome.assigned) {
      const session = byAgent.get(attempt.agentId);
      if (session === undefined || session.epoch !== attempt.epoch || session.ended) {
        // Its session ended while the claim was made: the store ends the attempt as lost.
        logger.warn({ source, leaseId: attempt.leaseId, agentId: attempt.agentId }, 'an assignment came too late');
        continue;
      }
      const list = fresh.get(session);
      if (list === undefined) fresh.set(session, [heldAttempt(attempt, source)]);
      else list.push(heldAttempt(attempt, source));
    }
    for (const [session, list] of fresh) {
      busy.add(session);
      session.assign(list);
    }
    for (const agentId of outcome.released) {
      const session = byAgent.get(agentId)!;
      // The other sources have not been asked about it in this round.
      if (!busy.has(session) && session.takesWork) this.#wanted.add(session);
      busy.add(session);
    }
    if (generation === this.#generation) {
      for (const session of sessions) {
        if (busy.has(session) || failed.has(session) || this.#wanted.has(session) || !session.takesWork) continue;
        if (hungers(session)) this.#hungry.add(session);
      }
    }
    if (failed.size > 0) this.#deps.doubt([...failed]);
    return [...failed];
  }
}

/** Whether sources are asked that do not say otherwise: to them, an agent that is withheld is as good as disabled. */
function worksFor({ disabled, withheld }: AgentPolicy): boolean {
  return disabled === undefined && withheld === undefined;
}

/** Whether it may be given any source's work without being asked about. */
function hungers({ policy, drain }: LeaseSession): boolean {
  return worksFor(policy) && policy.downtime === undefined && drain === undefined;
}
