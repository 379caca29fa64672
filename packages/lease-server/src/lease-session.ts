import type { AgentView, AssignedAttempt, DroverError, LeaseDraft, LeaseRequirements } from '@drover/lease-kit';
import type {
  AttemptOutcome,
  AttemptWriteResult,
  BoundAttemptRecord,
  ConditionReason,
  SessionRef,
} from '@drover/lease-store';
import { AgentCondition as WireCondition, type ExchangeLeasesResponse } from '@drover/lease-protocol';
import type { AgentPolicy } from '@drover/fleet-policy';
import {
  initialServerState,
  keyString,
  nextServerDeadlineMs,
  stepServerBatch,
  type AttemptKey,
  type ServerCopy,
  type ServerEvent,
  type ServerMachineOptions,
  type ServerState,
  type ServerWrite,
  type SessionEnd,
} from '@drover/reconciler-state-machine';
import { countResources, resourcesLeft, type AgentTraits } from '@drover/task-sources';
import { heldAttempt, workBytesOf, type HeldAttempt } from './held-attempt.ts';
import { serverCopyToWire, upcomingMax, upcomingToWire, type AgentReport } from './wire-copies.ts';

/** Whether an agent takes new work. */
export type AgentCondition = 'ready' | 'busy' | 'stopping' | 'unhealthy';

/** A copy, made when it leaves. `stream` is the one that carries it; a poll's answer may be lost, and names none. */
export type CopyToSend = (stream?: object) => ExchangeLeasesResponse;

/** Where a session's copies go: a stream, or whoever polls next. */
export interface SessionLink {
  /** Takes the place of a copy that has not left. */
  put(copy: CopyToSend): void;
  /** Carries something beside the copies now, and says true, or not at all. */
  hint(message: () => ExchangeLeasesResponse): boolean;
  end(error?: unknown): void;
}

/** What a session asks of the server around it. */
export interface SessionHost {
  /** Persist; answer with {@link LeaseSession.written}. */
  write(session: LeaseSession, writeId: number, writes: readonly ServerWrite<AgentReport>[]): void;
  /** Attempts that its agent is going to be told of. */
  offered(attempts: readonly HeldAttempt[]): void;
  /** That an agent took an attempt of this job is persisted. */
  accepted(jobId: string): void;
  /** An attempt's end is persisted. */
  settled(session: LeaseSession, held: HeldAttempt, outcome: AttemptOutcome, result: SettledResult): void;
  /** Nothing follows. */
  ended(session: LeaseSession, reason: SessionEnd, message: string): void;
  /** Its agent was to take one lease, has, and is gone. */
  left(session: LeaseSession): void;
  /** It may take more or less work than before. */
  changed(session: LeaseSession): void;
  /** Tell it what time it is then, on the monotonic clock, or soon after. */
  wake(session: LeaseSession, dueMs: number): void;
}

/** What the store said of an end. */
export interface SettledResult {
  readonly final: boolean;
  readonly jobId?: string;
}

/** How a session is made. */
export interface LeaseSessionOptions {
  readonly machine: ServerMachineOptions;
  readonly instanceNonce: string;
  readonly traits: AgentTraits;
  /** What operators say about its agent. */
  readonly policy: AgentPolicy;
  /** The most bytes of work in one copy. */
  readonly workBytesMax: number;
  /** The monotonic clock. */
  readonly nowMs: () => number;
}

/**
 * One agent's session: the machine, what it does not care about (payloads, resources), and the link. It never waits: what
 * takes time is asked of the host and comes back as a call.
 */
export class LeaseSession {
  readonly sessionId: string;
  readonly agentId: string;
  readonly epoch: number;
  readonly instanceNonce: string;
  readonly held = new Map<string, HeldAttempt>();
  /** Grows whenever an attempt comes or goes, so that an answer of the store can be seen to be out of date. */
  version = 0;
  condition: AgentCondition = 'ready';
  /** Why; undefined where the agent gives no reason. */
  conditionReason: ConditionReason | undefined;
  /** SHA-256 of the description that the agent said last within the session; undefined: none. */
  descriptionDigest: string | undefined;
  /** Sources are being asked about it. */
  asking = false;
  /** A call that may have bound attempts to it failed: it gets no more before it was compared with the store. */
  uncertain = false;
  /** `keptUntilMs`: how long the store knows that it lasts. */
  drain:
    | { readonly source: string; readonly reason: string; readonly untilMs: number; readonly keptUntilMs: number }
    | undefined;
  /** A newer session of another process is known to exist. */
  newerProcess = false;
  /** A newer session of this agent is known to exist. */
  superseded = false;
  /** Why the agent may have no session any more; absent: it may. */
  eviction: DroverError | undefined;
  /** The copy that left last, for a poll that has nothing new. */
  lastCopy: { readonly revision: number; readonly response: CopyToSend } | undefined;
  #traits: AgentTraits;
  #policy: AgentPolicy;
  /** An ephemeral agent has taken its one lease. */
  #spent = false;
  readonly #host: SessionHost;
  readonly #workBytesMax: number;
  readonly #nowMs: () => number;
  readonly #leasesMax: number;
  readonly #state: ServerState<AgentReport>;
  readonly #events: ServerEvent<AgentReport>[] = [];
  /** Attempts that the machine has not heard of yet, because their work does not fit into a copy now. */
  #untold: HeldAttempt[] = [];
  readonly #reserved = new Map<string, LeaseRequirements>();
  readonly #used: Record<string, number> = {};
  #usedElsewhere: Readonly<Record<string, number>> = {};
  #exclusive = 0;
  readonly #results = new Map<string, { readonly outcome: AttemptOutcome; readonly result: SettledResult }>();
  #link: SessionLink | undefined;
  /** What the agent was foretold last, and on which stream. */
  #foretold: { readonly stream: object; readonly leaseIds: ReadonlySet<string> } | undefined;
  #stepping = false;
  #view: AgentView | undefined;

  constructor(options: LeaseSessionOptions, host: SessionHost) {
    this.sessionId = options.machine.sessionId;
    this.agentId = options.traits.agentId;
    this.epoch = options.machine.epoch;
    this.instanceNonce = options.instanceNonce;
    this.#traits = options.traits;
    this.#policy = options.policy;
    this.#workBytesMax = options.workBytesMax;
    this.#nowMs = options.nowMs;
    this.#leasesMax = options.traits.leasesMax;
    this.#host = host;
    this.#state = initialServerState<AgentReport>(options.machine);
  }

  /** What its agent is, as it said last and as pools are defined now. */
  get traits(): AgentTraits {
    return this.#traits;
  }

  /** What operators say about its agent now. */
  get policy(): AgentPolicy {
    return this.#policy;
  }

  get ref(): SessionRef {
    return { agentId: this.agentId, epoch: this.epoch };
  }

  get ended(): boolean {
    return this.#state.phase === 'ended';
  }

  get linked(): boolean {
    return this.#link !== undefined;
  }

  /** The link that is open now. */
  get link(): SessionLink | undefined {
    return this.#link;
  }

  /** The newest revision of the server's list that the agent has acknowledged. */
  get acknowledgedByAgent(): number {
    return this.#state.acknowledgedByAgent;
  }

  /** How long ago the agent was last heard. */
  get silentMs(): number {
    return Math.max(0, Math.round(this.#nowMs() - this.#state.lastHeardMs));
  }

  /** When the next tick is due; undefined for never. */
  get deadlineMs(): number | undefined {
    return nextServerDeadlineMs(this.#state);
  }

  /** The agent as sources see it; the same object until something changes. */
  get view(): AgentView {
    this.#view ??= this.#makeView();
    return this.#view;
  }

  /**
   * It could be given work: connected, ready, with a free slot, held by no exclusive lease, not made busy by an operator. One
   * that is disabled or in downtime is asked about all the same: some sources have work for it.
   */
  get takesWork(): boolean {
    return (
      this.#link !== undefined &&
      this.#state.phase === 'active' &&
      this.condition === 'ready' &&
      this.#policy.busy === undefined &&
      !this.#spent &&
      !this.uncertain &&
      this.#exclusive === 0 &&
      this.held.size + this.#reserved.size < this.traits.leasesMax
    );
  }

  /** The store's whole list, once, before anything else. */
  load(attempts: readonly BoundAttemptRecord[], nowMs: number): void {
    const loaded = attempts.map((record) => this.#hold(heldAttemptOf(record, true)));
    this.dispatch({
      type: 'loaded',
      attempts: loaded.map(({ attempt, initial }) => ({ ...keyOf(attempt), state: initial })),
      nowMs,
    });
  }

  /** Attempts that the store has bound to it; those that it has already are ignored. */
  assign(attempts: readonly HeldAttempt[]): void {
    const fresh = attempts.filter(({ key }) => !this.held.has(key));
    if (fresh.length === 0 || this.ended) return;
    for (const held of fresh) {
      const { leaseId, attempt } = held.attempt;
      if (attempt === 1 && this.#foretold?.leaseIds.has(leaseId)) held.workSentOn = this.#foretold.stream;
      this.#untold.push(this.#hold(held));
    }
    this.#host.offered(fresh);
    this.#tell();
    this.#host.changed(this);
  }

  /** The store has recorded that an attempt is not wanted any more. `code`: why, where no person wished it. */
  wishCancel(key: string, why: string, code?: string): void {
    const held = this.held.get(key);
    if (held === undefined || held.cancelWished) return;
    held.cancelWished = true;
    held.cancelReason = why;
    held.cancelCode = code;
    if (!this.#untold.includes(held)) this.dispatch({ type: 'cancel-wished', key: keyOf(held.attempt) });
  }

  /** The answer to `write`. */
  written(
    writeId: number,
    outcomes: readonly { readonly key: string; readonly outcome: AttemptOutcome | undefined }[],
    answer: readonly AttemptWriteResult[] | 'unknown',
  ): void {
    if (answer === 'unknown') return this.dispatch({ type: 'written', writeId, result: 'unknown' });
    answer.forEach((result, index) => {
      const { key, outcome } = outcomes[index]!;
      if (result.result !== 'persisted') return;
      const held = this.held.get(key);
      if (held !== undefined) held.jobId ??= result.jobId;
      if (outcome === undefined) {
        if (result.jobId !== undefined) this.#host.accepted(result.jobId);
        return;
      }
      const { final = false, jobId } = result;
      this.#results.set(key, { outcome, result: jobId === undefined ? { final } : { final, jobId } });
    });
    const fenced = answer.some(({ result }) => result === 'fenced');
    this.dispatch({ type: 'written', writeId, result: fenced ? 'fenced' : 'persisted' });
    // A session that has ended settles nothing any more, and yet what is persisted is to be told.
    if (this.ended) for (const { key } of outcomes) this.#settle(key);
  }

  /** Hands an event to the machine and carries out what follows, in order. */
  dispatch(event: ServerEvent<AgentReport>): void {
    this.#events.push(event);
    if (this.#stepping) return;
    this.#stepping = true;
    try {
      while (this.#events.length > 0) {
        const { effects } = stepServerBatch(this.#state, this.#events.splice(0));
        for (const effect of effects) {
          switch (effect.type) {
            case 'write':
              this.#host.write(this, effect.writeId, effect.writes);
              break;
            case 'send':
              this.#send(effect.copy);
              break;
            case 'settled':
              this.#settle(keyString(effect.key));
              break;
            case 'end-session':
              this.#host.ended(this, effect.reason, effect.message);
              break;
          }
        }
        if (this.#untold.length > 0 && this.#events.length === 0) this.#tell();
      }
    } finally {
      this.#stepping = false;
    }
  }

  /** Opens a link, in place of one that is open. */
  openLink(link: SessionLink, nowMs: number): void {
    const before = this.#link;
    this.#link = link;
    before?.end();
    this.dispatch({ type: 'link-opened', nowMs });
    this.#host.changed(this);
  }

  /** A link has ended; ignored if another one has taken its place. */
  closeLink(link: SessionLink, nowMs: number): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    this.dispatch({ type: 'link-lost', nowMs });
    // It has nothing to come back for: nobody needs to wait until its time is over.
    if (this.#spent && this.held.size === 0 && this.condition === 'stopping' && !this.ended) this.#host.left(this);
    this.#host.changed(this);
  }

  /** What the agent says about itself beside its copy. True if the condition, or the reason for it, has changed. */
  report(
    condition: AgentCondition,
    reason: ConditionReason | undefined,
    usedElsewhere: Readonly<Record<string, number>>,
  ): boolean {
    const conditionChanged =
      condition !== this.condition ||
      reason?.code !== this.conditionReason?.code ||
      reason?.message !== this.conditionReason?.message;
    const usedChanged = !sameCounts(this.#usedElsewhere, usedElsewhere);
    if (!conditionChanged && !usedChanged) return false;
    this.condition = condition;
    this.conditionReason = reason;
    this.#usedElsewhere = usedElsewhere;
    this.#view = undefined;
    this.#host.changed(this);
    return conditionChanged;
  }

  /**
   * Its agent is something else now, or pools are. How many attempts it holds at the most stays as it was when the session
   * was opened: the list's bound was made from it.
   */
  describe(traits: AgentTraits): void {
    if (traits === this.#traits || this.ended) return;
    this.#traits = { ...traits, leasesMax: Math.min(traits.leasesMax, this.#leasesMax) };
    this.#view = undefined;
    this.#host.changed(this);
  }

  /** Operators say something else about its agent. A wish that it be busy, or no longer, leaves at once. */
  govern(policy: AgentPolicy): void {
    const before = this.#policy;
    if (samePolicy(before, policy) || this.ended) return;
    this.#policy = policy;
    const isWish = (before.busy === undefined) !== (policy.busy === undefined);
    if (isWish && this.lastCopy !== undefined) this.#link?.put(this.lastCopy.response);
    this.#host.changed(this);
  }

  /** Keeps a place for a lease whose commit is under way. */
  reserve(leaseId: string, requirements: LeaseRequirements): void {
    this.#reserved.set(leaseId, requirements);
    this.#count(requirements, 1);
  }

  /**
   * Tells an agent that rests what it is about to be offered: it reads the work while the commit is under way. One that has
   * work is awake and has better things to do.
   */
  foretell(drafts: readonly LeaseDraft[]): void {
    if (this.held.size > 0 || drafts.length > upcomingMax || this.#link === undefined) return;
    const bytes = drafts.reduce((sum, { payload }) => sum + workBytesOf(payload), 0);
    if (bytes > this.#workBytesMax || !this.#link.hint(() => upcomingToWire(drafts))) return;
    // The agent keeps what it was told last.
    this.#foretold = { stream: this.#link, leaseIds: new Set(drafts.map(({ leaseId }) => leaseId)) };
  }

  /** Frees a place that was kept. */
  unreserve(leaseId: string): void {
    const requirements = this.#reserved.get(leaseId);
    if (requirements === undefined) return;
    this.#reserved.delete(leaseId);
    this.#count(requirements, -1);
  }

  #hold(held: HeldAttempt): HeldAttempt {
    this.held.set(held.key, held);
    this.version += 1;
    this.#count(held.attempt.requirements, 1);
    return held;
  }

  #settle(name: string): void {
    const held = this.held.get(name);
    const settled = this.#results.get(name);
    this.#results.delete(name);
    if (held === undefined || settled === undefined) return;
    this.held.delete(name);
    this.version += 1;
    this.#count(held.attempt.requirements, -1);
    // What an agent refused never ran on it.
    if (this.#traits.ephemeral && settled.outcome !== 'refused') this.#spent = true;
    this.#host.settled(this, held, settled.outcome, settled.result);
    this.#host.changed(this);
  }

  /** Tells the machine of attempts, as many as the work of unacknowledged ones leaves room for, and at least one. */
  #tell(): void {
    let bytes = this.#unacknowledgedBytes();
    let count = 0;
    for (const held of this.#untold) {
      bytes += held.workBytes;
      if (bytes > this.#workBytesMax && (count > 0 || bytes > held.workBytes)) break;
      count += 1;
    }
    if (count === 0) return;
    const told = this.#untold.splice(0, count);
    const nowMs = this.#nowMs();
    this.dispatch({
      type: 'assigned',
      attempts: told.map((held) => {
        const { startMsMax } = held.attempt.timeouts ?? {};
        const bound = { ...keyOf(held.attempt), state: held.cancelWished ? ('cancelling' as const) : held.initial };
        return startMsMax === undefined ? bound : { ...bound, startMsMax };
      }),
      nowMs,
    });
    for (const { attempt } of told) {
      if (attempt.timeouts?.startMsMax !== undefined) this.#host.wake(this, nowMs + attempt.timeouts.startMsMax);
    }
  }

  #unacknowledgedBytes(): number {
    let bytes = 0;
    for (const [key, holding] of this.#state.holdings) {
      const acknowledged = this.#state.acknowledgedByAgent >= holding.listedRevision;
      if (!acknowledged && holding.state === 'offered') bytes += this.held.get(key)?.workBytes ?? 0;
    }
    return bytes;
  }

  #send(copy: ServerCopy): void {
    const response: CopyToSend = (stream) => {
      const message = serverCopyToWire(copy, this.held, this.#workBytesMax, stream);
      message.wishedCondition = this.#policy.busy === undefined ? WireCondition.READY : WireCondition.BUSY;
      return message;
    };
    this.lastCopy = { revision: copy.revision, response };
    this.#link?.put(response);
  }

  #count(requirements: LeaseRequirements, sign: 1 | -1): void {
    countResources(this.#used, requirements.resources, sign);
    if (requirements.exclusive === true) this.#exclusive += sign;
    this.#view = undefined;
  }

  #makeView(): AgentView {
    const { traits } = this;
    const used = { ...this.#used };
    countResources(used, this.#usedElsewhere, 1);
    const leases = this.held.size + this.#reserved.size;
    return {
      agentId: this.agentId,
      epoch: this.epoch,
      properties: traits.properties,
      pools: traits.pools,
      resourcesTotal: traits.resourcesTotal,
      resourcesFree: resourcesLeft(traits.resourcesTotal, used),
      leasesFree: this.#exclusive > 0 ? 0 : Math.max(0, traits.leasesMax - leases),
      idle: leases === 0 && Object.values(this.#usedElsewhere).every((count) => count === 0),
      payloadTypes: traits.payloadTypes,
    };
  }
}

/** A record of the store as a session holds it. `proven`: its agent has it already. */
export function heldAttemptOf(record: BoundAttemptRecord, proven = false): HeldAttempt {
  const held = heldAttempt(record, record.source, record.state, record.cancelReason, record.jobId, proven);
  held.cancelCode = record.cancelCode;
  return held;
}

function keyOf({ leaseId, attempt }: AssignedAttempt): AttemptKey {
  return { leaseId, attempt };
}

/** Two answers of a policy; only what a session goes by is compared. */
function samePolicy(a: AgentPolicy, b: AgentPolicy): boolean {
  return (
    (a.disabled === undefined) === (b.disabled === undefined) &&
    (a.withheld === undefined) === (b.withheld === undefined) &&
    (a.busy === undefined) === (b.busy === undefined) &&
    (a.downtime === undefined) === (b.downtime === undefined)
  );
}

function sameCounts(a: Readonly<Record<string, number>>, b: Readonly<Record<string, number>>): boolean {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}
