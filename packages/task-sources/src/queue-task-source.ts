import {
  silentLogger,
  systemClock,
  type AgentView,
  type AskContext,
  type AssignedAttempt,
  type AttemptEnd,
  type Clock,
  type Logger,
  type Principal,
  type ScheduledCall,
  type TaskAnswer,
  type TaskSource,
} from '@drover/lease-kit';
import { requirementsText } from '@drover/lease-matching';
import type { ClaimRequest, LeaseQueue, StoreContext, StoreSignals, WaitingClass } from '@drover/lease-store';
import { BarrenClaims } from './internal/barren-claims.ts';
import { ClassFit } from './internal/class-fit.ts';
import { FairShare, type WeightOf } from './internal/fair-share.ts';
import { FreePlace } from './internal/free-place.ts';
import { HeldBack } from './internal/held-back.ts';
import { planPlaces, spreadPlaces } from './internal/plan-places.ts';

/** What a queue source is and how often it looks. */
export interface QueueTaskSourceOptions {
  /** The `source` of the leases that it hands out, e.g. `job`. */
  readonly name: string;
  /** See `TaskSource`. Default false. */
  readonly assignsWhenDisabled?: boolean;
  /** See `TaskSource`. Default false. */
  readonly assignsInDowntime?: boolean;
  /** How often it looks for work that no signal spoke of, ±25 %. Default 2 s. */
  readonly pollMs?: number;
  /**
   * Starvation bound of priorities and turns: a lease that has waited so long goes before everything that is younger, whatever
   * its priority. So no lease that an agent has room for waits behind work which was submitted more than this after it. Up to
   * 2^53 − 1; default 10 min.
   */
  readonly agedAfterMs?: number;
  /**
   * Starvation bound of size: when a lease has waited so long and the agents on which it fits have no room for it, the source
   * drains one of them for it. So it starts after this, the remaining run limits of what runs there, and those leases of its
   * class that are older. Default 2 min.
   */
  readonly holdBackAfterMs?: number;
  /** On whose behalf it reads and claims. Default: the service `task-source:<name>`. */
  readonly principal?: Principal;
}

/** What a queue source works with. */
export interface QueueTaskSourceDeps {
  readonly queue: Pick<LeaseQueue, 'waitingClasses' | 'claim' | 'nextDueMs'>;
  /** Absent: the poll alone wakes it. */
  readonly signals?: StoreSignals;
  /** How submitters share a pool. Absent: alike. Asked at every claim; must be quick. */
  readonly weightOf?: WeightOf;
  /** Told how each attempt ended. */
  readonly ended?: (end: AttemptEnd) => void;
  /** Default: that of the process. */
  readonly clock?: Clock;
  /** From 0 to below 1; spreads the polls of several servers. Default `Math.random`. */
  readonly random?: () => number;
  readonly logger?: Logger;
}

/** Places of one claim: four times as many after one that was filled, a quarter after an ask that found no more. */
const claimPlacesMin = 32;
const claimPlacesMax = 256;
/**
 * An ask that has claimed so many answers, though more wait: its agents start while the next ones are claimed. One that held
 * them back until nothing waits would make agents and database wait for each other in turn.
 */
const answerFrom = 128;
/** Most rounds of claims in one ask: overcommit is ruled out by counting down, so mixed classes can take several. */
const roundsMax = 24;
const agedAfterMsDefault = 10 * 60_000;
const holdBackAfterMsDefault = 2 * 60_000;
/** A due time is asked for at most this often. */
const dueLookMinMs = 100;

/**
 * The stock task source: hands out the leases that wait in a queue. It matches agents with classes of waiting leases, each
 * pair once, and claims for all agents with the same classes in one statement. It remembers which classes wait and which
 * claims came back short; signals and the poll renew that, so that an ask costs no statement while nothing waits.
 *
 * It polls only while somebody listens by `onWork`. An ask that is aborted or fails may have bound leases.
 */
export function createQueueTaskSource(options: QueueTaskSourceOptions, deps: QueueTaskSourceDeps): TaskSource {
  const source = new QueueTaskSource(options, deps);
  return {
    name: options.name,
    assignsWhenDisabled: options.assignsWhenDisabled ?? false,
    assignsInDowntime: options.assignsInDowntime ?? false,
    ask: (agents, context) => source.ask(agents, context),
    onWork: (wake) => source.onWork(wake),
    ended: (end) => deps.ended?.(end),
  };
}

class QueueTaskSource {
  readonly #name: string;
  readonly #queue: QueueTaskSourceDeps['queue'];
  readonly #signals: StoreSignals | undefined;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #logger: Logger;
  readonly #principal: Principal;
  readonly #pollMs: number;
  readonly #fit = new ClassFit<number>();
  readonly #barren = new BarrenClaims();
  readonly #turns: FairShare;
  readonly #heldBack: HeldBack;
  readonly #agedAfterMs: number;
  readonly #wakes = new Set<() => void>();
  #classes: readonly WaitingClass[] = [];
  #claimPlaces = claimPlacesMin;
  #asks = 0;
  #reads = 0;
  #readTaken = 0;
  /** The classes may have changed since they were read. */
  #stale = true;
  #reading: Promise<void> | undefined;
  #poll: ScheduledCall | undefined;
  #due: ScheduledCall | undefined;
  #dueLookedAtMs = Number.NEGATIVE_INFINITY;
  #unlisten: (() => void) | undefined;

  constructor(options: QueueTaskSourceOptions, deps: QueueTaskSourceDeps) {
    this.#name = options.name;
    this.#queue = deps.queue;
    this.#signals = deps.signals;
    this.#clock = deps.clock ?? systemClock;
    this.#random = deps.random ?? Math.random;
    this.#logger = deps.logger ?? silentLogger;
    this.#principal = options.principal ?? { kind: 'service', id: `task-source:${options.name}` };
    this.#pollMs = options.pollMs ?? 2_000;
    this.#agedAfterMs = options.agedAfterMs ?? agedAfterMsDefault;
    this.#heldBack = new HeldBack(options.holdBackAfterMs ?? holdBackAfterMsDefault);
    this.#turns = new FairShare(deps.weightOf ?? (() => 1));
  }

  async ask(agents: readonly AgentView[], { signal }: AskContext): Promise<ReadonlyMap<string, TaskAnswer>> {
    const attempts = new Map<string, AssignedAttempt[]>();
    const drains = new Map<string, TaskAnswer>();
    const renewed = this.#stale;
    let classes = await this.#waiting(signal);
    this.#heldBack.review(classes);
    if (classes.length > 0) {
      const all = this.#places(agents);
      const kept = await this.#serveHeldBack(all, classes, attempts, signal);
      for (const { agentId, reason } of kept) drains.set(agentId, { kind: 'drain', reason });
      const open = drains.size === 0 ? all : all.filter(({ view }) => !drains.has(view.agentId));
      for (let round = 1; ; round += 1) {
        const groups = planPlaces(open, classes, this.#fit, this.#barren, this.#claimPlaces);
        let filled = false;
        for (const group of groups) {
          const places = spreadPlaces(group, this.#claimPlaces);
          const claimed = await this.#claimInTurns(group.classIds, classes, places, attempts, signal);
          if (claimed === places.length) filled = true;
          else for (const { place } of group.agents) this.#barren.add(place.view, group.key);
        }
        // What came back short found nothing more for anybody: other agents of the same classes need not try.
        if (!filled) {
          this.#claimPlaces = Math.max(claimPlacesMin, this.#claimPlaces / 4);
          break;
        }
        this.#claimPlaces = Math.min(claimPlacesMax, this.#claimPlaces * 4);
        if (round === roundsMax) {
          this.#mayHaveWork();
          break;
        }
        const claimed = attempts.values().reduce((sum, list) => sum + list.length, 0);
        if (claimed >= answerFrom) {
          // The next ask claims more, for agents that this one left without as well.
          for (const wake of this.#wakes) wake();
          break;
        }
        classes = await this.#waiting(signal);
      }
    }
    // A signal may have spoken of a lease that is not due yet.
    if (renewed) void this.#lookForDue();
    for (const [agentId, list] of attempts) drains.set(agentId, { kind: 'assigned', attempts: list });
    return drains;
  }

  onWork(wake: () => void): () => void {
    // A wrapper of its own, so that one function may be registered twice.
    const entry = (): void => wake();
    this.#wakes.add(entry);
    if (this.#wakes.size === 1) this.#startLooking();
    return () => {
      if (this.#wakes.delete(entry) && this.#wakes.size === 0) this.#stopLooking();
    };
  }

  /** Each ask starts with another agent: those that are looked at first must not keep a lease from all others. */
  #places(agents: readonly AgentView[]): FreePlace[] {
    this.#asks += 1;
    const start = (this.#asks * claimPlacesMin) % agents.length;
    return [...agents.slice(start), ...agents.slice(0, start)]
      .filter(({ leasesFree }) => leasesFree > 0)
      .map((view) => new FreePlace(view));
  }

  /**
   * Gives an agent that is held back the lease for which it is, if there is room by now. Answers those that go on being held
   * back, with the reason.
   */
  async #serveHeldBack(
    places: readonly FreePlace[],
    classes: readonly WaitingClass[],
    attempts: Map<string, AssignedAttempt[]>,
    signal: AbortSignal,
  ): Promise<{ readonly agentId: string; readonly reason: string }[]> {
    const nowMs = this.#clock.monotonicMs();
    this.#heldBack.choose(classes, places, this.#fit, nowMs);
    const kept: { agentId: string; reason: string }[] = [];
    for (const place of places) {
      const { agentId } = place.view;
      const wanted = this.#heldBack.classOf(agentId);
      const one = classes.find(({ classId }) => classId === wanted);
      if (one === undefined) continue;
      if (place.capacity(one.requirements) > 0) {
        this.#heldBack.release(agentId);
        const claimed = await this.#claim({ classIds: [one.classId], agedMs: 0 }, [place], attempts, signal);
        if (claimed.length === 0) this.#heldBack.gotNothing(agentId, one.classId, nowMs);
      } else {
        kept.push({ agentId, reason: `held back for a lease that needs ${requirementsText(one.requirements)}` });
      }
    }
    return kept;
  }

  /** Claims what has waited too long first, and then in turns between submitters. */
  async #claimInTurns(
    classIds: readonly number[],
    classes: readonly WaitingClass[],
    places: readonly FreePlace[],
    attempts: Map<string, AssignedAttempt[]>,
    signal: AbortSignal,
  ): Promise<number> {
    const wanted = new Set(classIds);
    const asked = classIds.length === classes.length ? classes : classes.filter(({ classId }) => wanted.has(classId));
    const shares = this.#turns.sharesOf(asked);
    const ids = asked.map(({ classId }) => classId);
    const aged = asked.filter(({ ageMsMax }) => ageMsMax >= this.#agedAfterMs).map(({ classId }) => classId);
    const aging: AssignedAttempt[] = [];
    // Where everything is of one priority and one submitter the oldest goes first in any case.
    if (aged.length > 0 && (shares !== undefined || hasSeveralPriorities(asked))) {
      aging.push(...(await this.#claim({ classIds: aged, agedMs: this.#agedAfterMs }, places, attempts, signal)));
    }
    const left = aging.length === 0 ? places : placesLeft(places, aging);
    if (left.length === 0) return aging.length;
    const request = shares === undefined ? { classIds: ids } : { classIds: ids, shares };
    return aging.length + (await this.#claim(request, left, attempts, signal)).length;
  }

  async #claim(
    request: Pick<ClaimRequest, 'classIds' | 'shares' | 'agedMs'>,
    places: readonly FreePlace[],
    attempts: Map<string, AssignedAttempt[]>,
    signal: AbortSignal,
  ): Promise<readonly AssignedAttempt[]> {
    const byAgent = new Map(places.map((place) => [place.view.agentId, place]));
    const sessions = places.map(({ view }) => ({ agentId: view.agentId, epoch: view.epoch }));
    const claimed = await this.#queue.claim(
      { source: this.#name, ...request, places: sessions },
      this.#context(signal),
    );
    for (const attempt of claimed) {
      byAgent.get(attempt.agentId)?.take(attempt.requirements);
      this.#turns.served(attempt.requirements, attempt.submitter ?? '');
      const list = attempts.get(attempt.agentId);
      if (list === undefined) attempts.set(attempt.agentId, [attempt]);
      else list.push(attempt);
    }
    return claimed;
  }

  /** The classes that wait, read again if there was news since. An ask that finds no news waits for nobody. */
  async #waiting(signal: AbortSignal): Promise<readonly WaitingClass[]> {
    if (this.#reading !== undefined) await this.#reading;
    if (this.#stale) {
      this.#reading ??= this.#readNews(signal);
      await this.#reading;
    }
    // News that came while it was read wakes the listeners for the next ask: under constant news this one must go on.
    return this.#classes;
  }

  async #readNews(signal: AbortSignal): Promise<void> {
    this.#stale = false;
    try {
      await this.#read(signal);
    } catch (error) {
      this.#stale = true;
      throw error;
    } finally {
      this.#reading = undefined;
    }
  }

  async #read(signal?: AbortSignal): Promise<void> {
    this.#barren.clear();
    this.#reads += 1;
    const read = this.#reads;
    const classes = await this.#queue.waitingClasses(this.#name, this.#context(signal));
    // The poll reads beside asks: an answer that is older than one that was taken is dropped.
    if (read < this.#readTaken) return;
    this.#readTaken = read;
    this.#classes = classes;
    this.#turns.waiting(classes);
  }

  #startLooking(): void {
    this.#stale = true;
    this.#unlisten = this.#signals?.listen((signal) => {
      if (signal.kind === 'resync' || (signal.kind === 'work' && signal.source === this.#name)) this.#mayHaveWork();
    });
    this.#schedulePoll();
  }

  #stopLooking(): void {
    this.#unlisten?.();
    this.#unlisten = undefined;
    this.#poll?.cancel();
    this.#poll = undefined;
    this.#due?.cancel();
    this.#due = undefined;
  }

  #mayHaveWork(): void {
    this.#stale = true;
    for (const wake of this.#wakes) wake();
  }

  #schedulePoll(): void {
    this.#poll = this.#clock.schedule(this.#pollMs * (0.75 + this.#random() / 2), () => {
      this.#schedulePoll();
      void this.#pollOnce();
    });
  }

  async #pollOnce(): Promise<void> {
    try {
      await this.#read();
      if (this.#classes.length > 0) for (const wake of this.#wakes) wake();
      await this.#lookForDue();
    } catch (error) {
      this.#logger.warn({ source: this.#name, err: error }, 'could not look for waiting leases');
    }
  }

  /** Wakes its listeners when the next lease that is not due yet (a retry) falls due. */
  async #lookForDue(): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    if (this.#wakes.size === 0 || nowMs - this.#dueLookedAtMs < dueLookMinMs) return;
    this.#dueLookedAtMs = nowMs;
    try {
      const dueMs = await this.#queue.nextDueMs(this.#name, this.#context());
      this.#due?.cancel();
      this.#due = undefined;
      // Later ones are found by a poll that comes before they are due.
      if (dueMs === undefined || dueMs > this.#pollMs * 2 || this.#wakes.size === 0) return;
      this.#due = this.#clock.schedule(Math.max(1, dueMs), () => this.#mayHaveWork());
    } catch (error) {
      this.#logger.warn({ source: this.#name, err: error }, 'could not ask when the next lease falls due');
    }
  }

  #context(signal?: AbortSignal): StoreContext {
    return signal === undefined ? { principal: this.#principal } : { principal: this.#principal, signal };
  }
}

function hasSeveralPriorities(classes: readonly WaitingClass[]): boolean {
  const [first] = classes;
  return classes.some((one) => one.priorityMin !== first?.priorityMax || one.priorityMax !== first.priorityMax);
}

/** The places that attempts did not take: one entry less of its agent for each. */
function placesLeft(places: readonly FreePlace[], taken: readonly AssignedAttempt[]): FreePlace[] {
  const counts = new Map<string, number>();
  for (const { agentId } of taken) counts.set(agentId, (counts.get(agentId) ?? 0) + 1);
  return places.filter(({ view: { agentId } }) => {
    const count = counts.get(agentId) ?? 0;
    if (count > 0) counts.set(agentId, count - 1);
    return count === 0;
  });
}
