import { createHash, randomUUID } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { toBinary } from '@bufbuild/protobuf';
import { isDroverError, principalName, type CallContext, type DroverError, type Principal } from '@drover/lease-kit';
import { AgentDescriptionSchema, type AgentDescription, type OpenSessionRequest } from '@drover/lease-protocol';
import {
  storeLimits,
  type AttemptOutcome,
  type AttemptWrite,
  type ConditionReport,
  type LostAttempt,
  type NewSession,
  type OverdueLeases,
} from '@drover/lease-store';
import { keyString, type ServerWrite, type SessionEnd } from '@drover/reconciler-state-machine';
import { leasePinOwner, traitsInPools } from '@drover/task-sources';
import { attemptWriteOf } from './attempt-writes.ts';
import { checkDescription, checkOpenSession } from './check-open-session.ts';
import { DeadlineQueue } from './deadline-queue.ts';
import type { HeldAttempt } from './held-attempt.ts';
import { LeaseSession, type SessionHost, type SettledResult } from './lease-session.ts';
import { LogRelay } from './log-relay.ts';
import { OpeningQueue } from './opening-queue.ts';
import type { ServerParts } from './server-parts.ts';
import {
  agentLeft,
  agentNotAuthorized,
  openSessionInvalid,
  serverStopping,
  sessionEndError,
  sessionsFull,
  sessionUnknown,
} from './session-errors.ts';
import { SharedTraits } from './shared-traits.ts';
import type { WriteAnswer } from './write-batcher.ts';
import { isLasting, StoreRetry } from './store-retry.ts';
import { StraySessions } from './stray-sessions.ts';
import { listDigest, listEntriesMax, type AgentReport } from './wire-copies.ts';

/** Who a registry tells. */
export interface SessionRegistryDeps {
  /** A session may take more or less work than before. */
  readonly changed: (session: LeaseSession) => void;
  /** False while the server takes no new sessions. */
  readonly open: () => boolean;
}

/** What a session's agent says about itself, where it is to be stored. */
interface SessionRecord {
  readonly condition?: ConditionReport;
  readonly description?: AgentDescription;
}

/** Sessions that ended are remembered up to this number, so that a late caller is told why. */
const endedKept = 10_000;
/** Sessions that are looked at in one turn of the event loop. */
const reviewedAtOnce = 500;
/** Part of a message that is not work: the list itself. */
const workShareOfMessage = 0.7;

/** The sessions that one server process holds, and what their machines ask for. */
export class SessionRegistry implements SessionHost {
  readonly logs: LogRelay;
  readonly #parts: ServerParts;
  readonly #deps: SessionRegistryDeps;
  readonly #byId = new Map<string, LeaseSession>();
  readonly #shared = new SharedTraits();
  readonly #byAgent = new Map<string, LeaseSession>();
  readonly #endings = new Map<string, Error>();
  readonly #deadlines: DeadlineQueue<LeaseSession>;
  readonly #wakes: DeadlineQueue<LeaseSession>;
  /** What is on its way to the store; what comes meanwhile replaces it. */
  readonly #records = new Map<LeaseSession, SessionRecord>();
  readonly #stopping = new AbortController();
  readonly #openings: OpeningQueue;
  readonly #openingIds = new Set<string>();
  readonly #strays: StraySessions;
  #opening = 0;
  #reviews = 0;

  constructor(parts: ServerParts, deps: SessionRegistryDeps) {
    this.#parts = parts;
    this.#deps = deps;
    this.logs = new LogRelay(parts);
    this.#openings = new OpeningQueue(parts.limits.openingsAtOnceMax);
    this.#strays = new StraySessions(parts.timing.sessionTimeoutMs + parts.timing.sessionGraceMs, {
      ...parts,
      sessions: parts.store.sessions,
      isHeld: (sessionId) => this.#byId.has(sessionId) || this.#openingIds.has(sessionId),
      lost: (attempts) => this.tellLost(attempts),
    });
    this.#wakes = new DeadlineQueue(parts.clock, (session) => {
      session.dispatch({ type: 'tick', nowMs: parts.clock.monotonicMs() });
      return undefined;
    });
    this.#deadlines = new DeadlineQueue(parts.clock, (session) => {
      if (session.deadlineMs !== undefined && session.deadlineMs <= parts.clock.monotonicMs()) {
        session.dispatch({ type: 'tick', nowMs: parts.clock.monotonicMs() });
      }
      return session.deadlineMs;
    });
  }

  /** How many there are, and how busy. */
  counts(): { readonly sessions: number; readonly linked: number; readonly attempts: number } {
    let linked = 0;
    let attempts = 0;
    for (const session of this.#byId.values()) {
      if (session.linked) linked += 1;
      attempts += session.held.size;
    }
    return { sessions: this.#byId.size, linked, attempts };
  }

  ofAgent(agentId: string): LeaseSession | undefined {
    return this.#byAgent.get(agentId);
  }

  /** Sessions that hold attempts. */
  *holding(): Iterable<LeaseSession> {
    for (const session of this.#byId.values()) if (session.held.size > 0) yield session;
  }

  /** The session of a call. Throws `SESSION_UNKNOWN`, why it ended, or `AGENT_NOT_AUTHORIZED`. */
  find(sessionId: string, principal: Principal): LeaseSession {
    const session = this.#byId.get(sessionId);
    if (session === undefined) throw this.#endings.get(sessionId) ?? sessionUnknown(sessionId);
    this.#authorize(principal, session.agentId);
    return session;
  }

  /** Opens a session in the store and here; the agent's earlier session is fenced. */
  async open(request: OpenSessionRequest, context: CallContext): Promise<LeaseSession> {
    const { limits, policy, store, serverId, clock, admission } = this.#parts;
    this.#authorize(context.principal, request.agentId);
    const { poolsAllowed } = admission === undefined ? {} : await admission.admit(request.agentId, context);
    const traits = this.#shared.share(checkOpenSession(request, policy.pools, limits.leasesPerAgentMax, poolsAllowed));
    if (!this.#deps.open()) throw serverStopping();
    const replaces = this.#byAgent.has(request.agentId) ? 1 : 0;
    if (this.#byId.size + this.#opening - replaces >= limits.sessionsMax) throw sessionsFull(limits.sessionsMax);
    this.#opening += 1;
    let leave: (() => void) | undefined;
    const sessionId = randomUUID();
    try {
      leave = await this.#openings.enter(AbortSignal.any([context.signal, this.#stopping.signal]));
      if (!this.#deps.open()) throw serverStopping();
      this.#openingIds.add(sessionId);
      const opened = await store.sessions.openSession(
        {
          agentId: request.agentId,
          sessionId,
          serverId,
          instanceNonce: request.instanceNonce,
          description: request.agent!,
          proven: provenOf(request),
        },
        { principal: context.principal, signal: context.signal },
      );
      if (opened.fenced !== undefined && opened.fenced.serverId !== serverId) {
        store.signals.announce({ kind: 'fenced', agentId: request.agentId, epoch: opened.epoch });
      }
      this.tellLost(opened.lost);
      const before = this.#byAgent.get(request.agentId);
      // Two calls at once: the later epoch is the session, whatever order the answers came in.
      if (before !== undefined && before.epoch > opened.epoch)
        throw sessionUnknown(sessionId, 'a newer one was opened');
      if (before !== undefined) {
        before.newerProcess = before.instanceNonce !== request.instanceNonce;
        before.superseded = true;
        before.dispatch({ type: 'fenced' });
      }
      if (this.#stopping.signal.aborted) throw serverStopping();
      const session = new LeaseSession(
        {
          machine: {
            sessionId,
            epoch: opened.epoch,
            heartbeatMs: this.#parts.timing.heartbeatMs,
            sessionTimeoutMs: this.#parts.timing.sessionTimeoutMs + this.#parts.timing.sessionGraceMs,
            // Twice: what a call without an answer had bound comes on top, and the agent lets it wait.
            leasesMax: Math.min(listEntriesMax, Math.max(2 * traits.leasesMax, opened.rebound.length)),
            digest: listDigest,
          },
          instanceNonce: request.instanceNonce,
          traits,
          policy: policy.policyOf(request.agentId, traits.pools),
          workBytesMax: Math.floor(limits.messageSizeMaxBytes * workShareOfMessage),
          nowMs: () => clock.monotonicMs(),
        },
        this,
      );
      if (opened.drain !== undefined) {
        const untilMs = clock.monotonicMs() + opened.drain.remainingMs;
        session.drain = { ...opened.drain, untilMs, keptUntilMs: untilMs };
      }
      this.#byId.set(sessionId, session);
      this.#byAgent.set(request.agentId, session);
      // Pools and settings may have changed while the store opened it.
      this.#reviewOne(session);
      session.load(opened.rebound, clock.monotonicMs());
      if (session.deadlineMs !== undefined) this.#deadlines.add(session, session.deadlineMs);
      if (this.#parts.admission !== undefined) await this.#confirm(session, context);
      return session;
    } finally {
      leave?.();
      // Without an answer, or with one that came too late, the store may have a session that nobody holds.
      if (this.#openingIds.delete(sessionId) && !this.#byId.has(sessionId)) this.#strays.doubt(request.agentId);
      this.#opening -= 1;
    }
  }

  /** Ends the session that an agent has here, in the store too; false if it has none. Its agent is told the error. */
  evict(agentId: string, error: DroverError): boolean {
    const session = this.#byAgent.get(agentId);
    if (session === undefined) return false;
    session.eviction = error;
    session.dispatch({ type: 'fenced' });
    return true;
  }

  left(session: LeaseSession): void {
    session.eviction = agentLeft(session.agentId);
    session.dispatch({ type: 'fenced' });
  }

  /** Another server says that an agent has a newer session. */
  fence(agentId: string, epoch: number): void {
    const session = this.#byAgent.get(agentId);
    if (session === undefined || session.epoch >= epoch) return;
    session.newerProcess = true;
    session.superseded = true;
    session.dispatch({ type: 'fenced' });
  }

  /** Ends every session here, though not in the store: their agents open new ones. */
  forgetAll(why: string): void {
    this.#parts.logger.warn({ sessions: this.#byId.size }, `sessions are given up: ${why}`);
    for (const session of [...this.#byId.values()]) session.dispatch({ type: 'fenced' });
  }

  /** Tells every agent to go to another server. */
  stop(): void {
    for (const session of [...this.#byId.values()]) session.dispatch({ type: 'stopping' });
    this.#deadlines.stop();
    this.#wakes.stop();
    this.#strays.stop();
    this.#stopping.abort(serverStopping());
  }

  /** Remembers the condition that an agent reports, in the store too. */
  recordCondition(session: LeaseSession): void {
    const { condition, conditionReason: reason } = session;
    this.#store(session, { condition: reason === undefined ? { condition } : { condition, reason } });
  }

  /**
   * An agent describes itself anew within its session: matching and pools follow at once, the store soon. Throws
   * `OPEN_SESSION_INVALID`; the session then stays as it was. Saying the same again changes nothing: an agent does so on
   * every new link.
   */
  describe(session: LeaseSession, description: AgentDescription): void {
    const { policy, limits } = this.#parts;
    const bytes = toBinary(AgentDescriptionSchema, description);
    const { descriptionBytesMax } = storeLimits;
    if (bytes.length > descriptionBytesMax) {
      throw openSessionInvalid('agent', `${bytes.length} bytes`, `at most ${descriptionBytesMax}`);
    }
    const digest = createHash('sha256').update(bytes).digest('hex');
    if (digest === session.descriptionDigest) return;
    const { agentId, traits: before } = session;
    const traits = checkDescription(agentId, description, policy.pools, limits.leasesPerAgentMax, before.poolsAllowed);
    session.descriptionDigest = digest;
    session.describe(this.#shared.share(traits));
    session.govern(policy.policyOf(agentId, traits.pools));
    this.#store(session, { description });
  }

  /** Pools, or what operators say about agents, may have changed: every session follows, a slice a turn of the event loop. */
  review(): void {
    this.#reviews += 1;
    void this.#review(this.#reviews);
  }

  async #review(number: number): Promise<void> {
    let looked = 0;
    for (const session of [...this.#byId.values()]) {
      // A newer review looks at all of them again.
      if (this.#reviews !== number || this.#stopping.signal.aborted) return;
      this.#reviewOne(session);
      looked += 1;
      if (looked % reviewedAtOnce === 0) await nextTurn();
    }
  }

  #reviewOne(session: LeaseSession): void {
    const { policy } = this.#parts;
    const { agentId, traits: before } = session;
    const traits = traitsInPools(before, policy.pools);
    if (traits !== before) session.describe(this.#shared.share(traits));
    session.govern(policy.policyOf(agentId, traits.pools));
  }

  changed(session: LeaseSession): void {
    this.#deps.changed(session);
  }

  wake(session: LeaseSession, dueMs: number): void {
    this.#wakes.add(session, dueMs);
  }

  write(session: LeaseSession, writeId: number, writes: readonly ServerWrite<AgentReport>[]): void {
    const prepared = writes.map((write) =>
      attemptWriteOf(session.ref, write, this.#parts, session.held.get(keyString(write.key))?.cancelCode),
    );
    const keys = writes.map((write) => keyString(write.key));
    const add = (ready: readonly AttemptWrite[]): void =>
      this.#parts.writes.add({
        writes: ready,
        done: (answer) => {
          const ends = ready.map((write, index) => ({
            key: keys[index]!,
            outcome: write.kind === 'end' ? write.outcome : undefined,
          }));
          this.#countAccepted(session, ready, answer);
          session.written(writeId, ends, answer);
        },
      });
    const ready = prepared.filter((write): write is AttemptWrite => !(write instanceof Promise));
    if (ready.length === prepared.length) add(ready);
    // Preparing never rejects: what the content store cannot give becomes the attempt's reason.
    else void Promise.all(prepared).then(add);
  }

  offered(attempts: readonly HeldAttempt[]): void {
    for (const { source } of attempts) this.#parts.metrics.offered(source);
  }

  accepted(jobId: string): void {
    this.#parts.store.signals.announce({ kind: 'job', jobId });
  }

  #countAccepted(session: LeaseSession, writes: readonly AttemptWrite[], answer: WriteAnswer): void {
    if (answer === 'unknown') return;
    writes.forEach((write, index) => {
      // An attempt that goes down with its machine is written as accepted a second time.
      if (write.kind !== 'acceptance' || write.goingDown === true || answer[index]?.result !== 'persisted') return;
      const held = session.held.get(keyString(write));
      if (held !== undefined) this.#parts.metrics.accepted(held.source);
    });
  }

  settled(session: LeaseSession, held: HeldAttempt, outcome: AttemptOutcome, result: SettledResult): void {
    const { leaseId, attempt } = held.attempt;
    this.#tell(held.source, { leaseId, attempt, agentId: session.agentId, outcome, ...result });
  }

  ended(session: LeaseSession, reason: SessionEnd, message: string): void {
    const { logger } = this.#parts;
    const error = session.eviction ?? sessionEndError(session, reason, message, session.newerProcess);
    this.#byId.delete(session.sessionId);
    if (this.#byAgent.get(session.agentId) === session) this.#byAgent.delete(session.agentId);
    this.#endings.set(session.sessionId, error);
    if (this.#endings.size > endedKept) this.#endings.delete(this.#endings.keys().next().value!);
    const fields = { agentId: session.agentId, sessionId: session.sessionId, epoch: session.epoch, reason };
    logger.info({ ...fields, attempts: session.held.size }, `session ended: ${message}`);
    const { link } = session;
    if (link !== undefined) {
      session.closeLink(link, this.#parts.clock.monotonicMs());
      link.end(error);
    }
    this.#deps.changed(session);
    // Without proof that the agent has a newer session, it may never have one.
    if (reason === 'fenced' && !session.superseded && session.eviction === undefined) {
      this.#strays.doubt(session.agentId);
    }
    if (session.eviction !== undefined) return void this.#endInStore(session, session.eviction.message);
    if (reason !== 'fenced' && reason !== 'server-stopping') void this.#endInStore(session, message);
  }

  /** Tells sources and watchers of attempts that ended with their session. */
  tellLost(attempts: readonly LostAttempt[]): void {
    for (const { source, leaseId, attempt, agentId, outcome, final, jobId } of attempts) {
      const end = { leaseId, attempt, agentId, outcome, final };
      this.#tell(source, jobId === undefined ? end : { ...end, jobId });
    }
  }

  /** Tells sources, watchers and servers of leases whose whole time is over. */
  tellOverdue({ ended, wished }: OverdueLeases): void {
    const { store, blobs, logger } = this.#parts;
    for (const { leaseId, jobId } of ended) {
      if (jobId !== undefined) store.signals.announce({ kind: 'job', jobId });
      blobs?.unpin(leasePinOwner(leaseId)).catch((error: unknown) => {
        logger.warn({ err: error, leaseId }, 'the payload of an ended lease stays pinned for now');
      });
    }
    for (const agentId of new Set(wished.map((attempt) => attempt.agentId))) {
      store.signals.announce({ kind: 'cancel', agentId });
    }
  }

  #tell(
    source: string,
    end: {
      readonly leaseId: string;
      readonly attempt: number;
      readonly agentId: string;
      readonly outcome: AttemptOutcome;
      readonly final: boolean;
      readonly jobId?: string;
    },
  ): void {
    const { store, sources, blobs, logger, metrics } = this.#parts;
    const { jobId, ...told } = end;
    metrics.ended(source, end.outcome, end.final);
    if (!end.final) store.signals.announce({ kind: 'work', source });
    if (jobId !== undefined) store.signals.announce({ kind: 'job', jobId });
    if (end.final && blobs !== undefined) {
      blobs.unpin(leasePinOwner(end.leaseId)).catch((error: unknown) => {
        logger.warn({ err: error, leaseId: end.leaseId }, 'the payload of an ended lease stays pinned for now');
      });
    }
    try {
      sources.get(source)?.ended?.(told);
    } catch (error) {
      logger.error({ err: error, source, leaseId: end.leaseId }, 'a task source failed when told of an end');
    }
  }

  /** Whoever decided meanwhile that the agent may have no session could not end this one yet. */
  async #confirm(session: LeaseSession, context: CallContext): Promise<void> {
    try {
      await this.#parts.admission?.confirm(session.agentId, context);
    } catch (error) {
      if (isDroverError(error) && (error.advice === 'denied' || error.advice === 'fenced')) {
        session.eviction = error;
        session.dispatch({ type: 'fenced' });
      }
      throw error;
    }
  }

  #authorize(principal: Principal, agentId: string): void {
    if (!this.#parts.authorizeAgent(principal, agentId)) throw agentNotAuthorized(principalName(principal), agentId);
  }

  /** Ends the session in the store too, or else it would live as long as this server beats. */
  async #endInStore(session: LeaseSession, why: string): Promise<void> {
    await this.#untilDone(async () => {
      const lost = await this.#parts.store.sessions.endSession(
        session.ref,
        why,
        { principal: this.#parts.principal },
        session.silentMs,
      );
      this.tellLost(lost);
    }, session);
  }

  #store(session: LeaseSession, record: SessionRecord): void {
    const waiting = this.#records.get(session);
    this.#records.set(session, { ...waiting, ...record });
    if (waiting === undefined) void this.#storeRecords(session);
  }

  async #storeRecords(session: LeaseSession): Promise<void> {
    const { store, principal } = this.#parts;
    const { sessions } = store;
    let stored: SessionRecord | undefined;
    for (;;) {
      const wanted = this.#records.get(session);
      if (wanted === undefined || wanted === stored) break;
      const { condition, description } = wanted;
      await this.#untilDone(async () => {
        if (session.ended) return;
        if (condition !== stored?.condition && condition !== undefined) {
          await sessions.recordCondition(session.ref, condition, { principal });
        }
        if (description !== stored?.description && description !== undefined) {
          await sessions.recordDescription(session.ref, description, { principal });
        }
      }, session);
      stored = wanted;
    }
    this.#records.delete(session);
  }

  /** Repeats a harmless call until the store takes it, refuses it for good, or the server stops. */
  async #untilDone(call: () => Promise<void>, session: LeaseSession): Promise<void> {
    const { clock, random, timing, logger } = this.#parts;
    const retry = new StoreRetry(clock, random, timing.retryMinMs, timing.retryMaxMs);
    while (!this.#stopping.signal.aborted) {
      try {
        return await call();
      } catch (error) {
        logger.warn({ err: error, agentId: session.agentId, epoch: session.epoch }, 'a write about a session failed');
        if (isLasting(error) || (error as { advice?: string }).advice === 'fenced') return;
        await retry.wait(this.#stopping.signal);
      }
    }
  }
}

/** What a request proves. Going down counts only for what is proven. */
function provenOf({ proven, goingDown }: OpenSessionRequest): NewSession['proven'] {
  if (goingDown.length === 0) return proven.map(({ leaseId, attempt }) => ({ leaseId, attempt }));
  const leaving = new Set(goingDown.map(keyString));
  return proven.map((key) => {
    const { leaseId, attempt } = key;
    return leaving.has(keyString(key)) ? { leaseId, attempt, goingDown: true } : { leaseId, attempt };
  });
}
