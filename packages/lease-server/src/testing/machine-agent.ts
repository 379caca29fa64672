import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { isDroverError, type CallContext, type Clock, type LeaseEndpoint, type ScheduledCall } from '@drover/lease-kit';
import {
  AgentCondition,
  AgentCopySchema,
  AgentLeaseListSchema,
  AgentLeaseSchema,
  AgentState as WireAgentState,
  ExchangeLeasesRequestSchema,
  OpenSessionRequestSchema,
  ReasonSchema,
  ServerState,
  type AgentDescription,
  type AgentDescriptionSchema,
  type AgentLease as WireAgentLease,
  type ExchangeLeasesRequest,
  type ExchangeLeasesResponse,
  type LeaseProgress,
  type ServerLease as WireServerLease,
} from '@drover/lease-protocol';
import {
  initialAgentState,
  keyString,
  nextAgentDeadlineMs,
  stepAgent,
  type AgentCopy,
  type AgentEffect,
  type AgentEvent,
  type AgentLeaseState,
  type AttemptKey,
  type JournalledAttempt,
  type ServerCopy,
  type ServerLeaseState,
} from '@drover/reconciler-state-machine';
import { listDigest } from '../wire-copies.ts';

const liveState = (state: AgentLeaseState): WireAgentState =>
  state === 'going-down' ? WireAgentState.GOING_DOWN : WireAgentState.ACCEPTED;

/** An agent for tests: the real machine, with handlers that a test ends by hand and a journal in memory. */
export interface MachineAgentOptions {
  readonly agentId: string;
  readonly instanceNonce?: string;
  readonly description?: MessageInitShape<typeof AgentDescriptionSchema>;
  /** What an earlier process of the agent had written. */
  readonly journal?: ReadonlyMap<string, JournalledAttempt<WireAgentLease>>;
  /** Why an offer is refused; undefined: it is taken. */
  readonly refusal?: (lease: WireServerLease) => { readonly code: string; readonly message: string } | undefined;
  /** It answers no offer. */
  readonly holdsOffers?: boolean;
  /** Called when a handler starts. */
  readonly started?: (lease: WireServerLease) => void;
}

const rejections: Readonly<Record<string, 'unknown' | 'fenced' | 'protocol-violation' | 'quarantined' | undefined>> = {
  SESSION_UNKNOWN: 'unknown',
  SESSION_FENCED: 'fenced',
  SESSION_PROTOCOL_VIOLATION: 'protocol-violation',
  AGENT_QUARANTINED: 'quarantined',
};

const states: Readonly<Record<number, ServerLeaseState | undefined>> = {
  [ServerState.OFFERED]: 'offered',
  [ServerState.ACCEPTED]: 'accepted',
  [ServerState.CANCELLING]: 'cancelling',
};

/**
 * An agent without I/O: a strict peer for tests of servers and transports. It calls an endpoint directly, holds a stream
 * open, and does what its machine says.
 */
export class MachineAgent {
  readonly journal = new Map<string, JournalledAttempt<WireAgentLease>>();
  /** Attempts whose handler has started, in order. */
  readonly running: AttemptKey[] = [];
  readonly stops: (AttemptKey & { readonly cause: string })[] = [];
  /** What the server says of each attempt, newest first in every copy. */
  readonly seen = new Map<string, WireServerLease>();
  /** Attempts that it was told of ahead of their commit. */
  readonly foretold: WireServerLease[] = [];
  readonly errors: unknown[] = [];
  copiesReceived = 0;
  /** What operators want of it, as the newest copy says. */
  wished: AgentCondition = AgentCondition.UNSPECIFIED;
  exited: string | undefined;
  condition: AgentCondition = AgentCondition.READY;
  conditionReason: { readonly code: string; readonly message: string } | undefined;
  /** Said beside every copy while set, as on every new link. */
  describedAs: AgentDescription | undefined;
  resourcesUsedElsewhere: Record<string, bigint> = {};
  readonly #options: MachineAgentOptions;
  readonly #endpoint: () => LeaseEndpoint;
  readonly #clock: Clock;
  readonly #state = initialAgentState<WireAgentLease>({
    leasesMax: 4_096,
    digest: listDigest,
    backoffMinMs: 10,
    backoffMaxMs: 100,
    acceptanceDelayMs: 0,
  });
  readonly #events: AgentEvent<WireAgentLease>[] = [];
  #stepping = false;
  #link: OutgoingRequests | undefined;
  #timer: ScheduledCall | undefined;
  #gone = new AbortController();

  /** `endpoint` is asked whenever a session or a link is opened, so that an agent can move to another server. */
  constructor(options: MachineAgentOptions, endpoint: () => LeaseEndpoint, clock: Clock) {
    this.#options = options;
    this.#endpoint = endpoint;
    this.#clock = clock;
    for (const [key, attempt] of options.journal ?? []) this.journal.set(key, attempt);
  }

  get sessionId(): string {
    return this.#state.sessionId;
  }

  get epoch(): number {
    return this.#state.epoch;
  }

  /** True once a copy of the server has arrived in this session. */
  get linked(): boolean {
    return this.#state.phase === 'session' && this.#state.applied > 0 && this.#state.link === 'up';
  }

  get context(): CallContext {
    return { principal: { kind: 'agent', id: this.#options.agentId }, signal: this.#gone.signal };
  }

  start(): this {
    const attempts = [...this.journal.values()];
    this.dispatch({ type: 'restored', attempts, nowMs: this.#clock.monotonicMs() });
    return this;
  }

  /** The process dies: nothing is said any more; the journal stays. */
  kill(): void {
    this.#timer?.cancel();
    this.#gone.abort();
    this.#link?.end();
  }

  /** The connection breaks; the machine opens another one. */
  breakLink(): void {
    this.#link?.end();
    this.#link = undefined;
    this.dispatch({ type: 'link-lost', nowMs: this.#clock.monotonicMs() });
  }

  /** The handler of an attempt returns. */
  finish(key: AttemptKey, end: MessageInitShape<typeof AgentLeaseSchema>): void {
    const report = create(AgentLeaseSchema, {
      ...end,
      leaseId: key.leaseId,
      attempt: key.attempt,
      state: WireAgentState.FINISHED,
    });
    this.dispatch({ type: 'handler-ended', key, report });
  }

  /** Says something beside the list: condition, resources, progress. */
  report(progress: readonly LeaseProgress[] = []): void {
    this.#link?.repeat(this.#beside(progress));
  }

  dispatch(event: AgentEvent<WireAgentLease>): void {
    if (this.#gone.signal.aborted) return;
    this.#events.push(event);
    if (this.#stepping) return;
    this.#stepping = true;
    for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) {
      for (const effect of stepAgent(this.#state, next).effects) this.#perform(effect);
    }
    this.#stepping = false;
    this.#arm();
  }

  #arm(): void {
    this.#timer?.cancel();
    const dueMs = nextAgentDeadlineMs(this.#state);
    if (dueMs === undefined) return;
    const delayMs = Math.max(0, dueMs - this.#clock.monotonicMs());
    this.#timer = this.#clock.schedule(delayMs, () =>
      this.dispatch({ type: 'tick', nowMs: this.#clock.monotonicMs() }),
    );
  }

  #perform(effect: AgentEffect<WireAgentLease>): void {
    switch (effect.type) {
      case 'open-session':
        return void this.#openSession(effect.proven, effect.goingDown);
      case 'open-link':
        return void this.#openLink();
      case 'close-link':
        this.#link?.end();
        this.#link = undefined;
        return;
      case 'consider':
        return this.#consider(effect.key);
      case 'journal':
        for (const entry of effect.entries) {
          const name = keyString(entry.key);
          if (entry.kind === 'dropped') this.journal.delete(name);
          else if (entry.kind === 'accepted') {
            this.journal.set(name, { ...entry.key, state: 'accepted', cutOff: 'go-on' });
          } else this.journal.set(name, { ...entry.key, state: 'finished', cutOff: 'go-on', report: entry.report });
        }
        return this.dispatch({ type: 'journalled', writeId: effect.writeId });
      case 'start':
        this.running.push(effect.key);
        this.#options.started?.(this.seen.get(keyString(effect.key))!);
        return;
      case 'stop':
        this.stops.push({ ...effect.key, cause: effect.cause });
        return;
      case 'send':
        return this.#link?.put(this.#request(effect.copy));
      case 'exit':
        this.exited = effect.reason;
        return;
      case 'resume':
      case 'forget':
        return;
    }
  }

  #consider(key: AttemptKey): void {
    if (this.#options.holdsOffers === true) return;
    const lease = this.seen.get(keyString(key))!;
    const refusal = this.#options.refusal?.(lease);
    if (refusal === undefined) return this.dispatch({ type: 'considered', key, cutOff: 'go-on' });
    const report = create(AgentLeaseSchema, { ...key, state: WireAgentState.REFUSED, reason: refusal });
    this.dispatch({ type: 'considered', key, refusal: report });
  }

  async #openSession(proven: readonly AttemptKey[], goingDown: readonly AttemptKey[]): Promise<void> {
    const sentAtMs = this.#clock.monotonicMs();
    const { agentId, instanceNonce = 'nonce-1', description = {} } = this.#options;
    try {
      const opened = await this.#endpoint().openSession(
        create(OpenSessionRequestSchema, {
          agentId,
          instanceNonce,
          agent: { leasesMax: 16, payloadTypes: ['x.Work'], ...description } as MessageInitShape<
            typeof AgentDescriptionSchema
          >,
          proven: [...proven],
          goingDown: [...goingDown],
        }),
        this.context,
      );
      this.dispatch({
        type: 'session-opened',
        sessionId: opened.sessionId,
        epoch: Number(opened.epoch),
        heartbeatMs: Number(opened.heartbeatInterval!.seconds) * 1_000,
        sessionTimeoutMs: Number(opened.sessionTimeout!.seconds) * 1_000,
        sentAtMs,
        nowMs: this.#clock.monotonicMs(),
      });
    } catch (error) {
      this.#failed(error, 'session-failed');
    }
  }

  async #openLink(): Promise<void> {
    const link = new OutgoingRequests();
    this.#link?.end();
    this.#link = link;
    try {
      const answers = this.#endpoint().exchange(link, this.context);
      this.dispatch({ type: 'link-opened', nowMs: this.#clock.monotonicMs() });
      for await (const answer of answers) if (this.#link === link) this.#receive(answer);
      if (this.#link === link) this.dispatch({ type: 'link-lost', nowMs: this.#clock.monotonicMs() });
    } catch (error) {
      if (this.#link === link) this.#failed(error, 'link-lost');
    }
  }

  #failed(error: unknown, otherwise: 'session-failed' | 'link-lost'): void {
    this.errors.push(error);
    const nowMs = this.#clock.monotonicMs();
    const reason = isDroverError(error) ? rejections[error.code] : undefined;
    if (reason === undefined) this.dispatch({ type: otherwise, nowMs });
    else this.dispatch({ type: 'session-rejected', reason, nowMs });
  }

  #receive({ copy, upcoming, wishedCondition }: ExchangeLeasesResponse): void {
    this.foretold.push(...upcoming);
    if (copy === undefined && upcoming.length > 0) return;
    this.copiesReceived += 1;
    this.wished = wishedCondition;
    const header = {
      sessionId: copy!.sessionId,
      epoch: Number(copy!.epoch),
      revision: Number(copy!.revision),
      acknowledged: Number(copy!.acknowledgedRevision),
      wantsWhole: copy!.wantsWholeCopy,
    };
    let list: ServerCopy['list'];
    if (copy!.list.case === 'digest') {
      list = { kind: 'digest', digest: Buffer.from(copy!.list.value).toString('hex') };
    } else {
      const { leases } = copy!.list.value!;
      for (const lease of leases) {
        const before = this.seen.get(keyString(lease));
        // Work comes once; what was said before stands.
        if (lease.work.case === undefined) {
          const known = before ?? this.foretold.findLast((one) => keyString(one) === keyString(lease));
          if (known !== undefined) lease.work = known.work;
          else if (lease.state === ServerState.OFFERED) this.errors.push(new Error(`${lease.leaseId}: no work`));
        }
        this.seen.set(keyString(lease), lease);
      }
      list = {
        kind: 'whole',
        leases: leases.map((lease) => ({
          leaseId: lease.leaseId,
          attempt: lease.attempt,
          state: states[lease.state]!,
          withWork: lease.work.case !== undefined,
        })),
      };
    }
    this.dispatch({ type: 'copy-received', copy: { ...header, list }, nowMs: this.#clock.monotonicMs() });
  }

  #beside(progress: readonly LeaseProgress[]) {
    return {
      condition: this.condition,
      ...(this.conditionReason && { conditionReason: create(ReasonSchema, this.conditionReason) }),
      ...(this.describedAs && { description: this.describedAs }),
      resourcesUsedElsewhere: this.resourcesUsedElsewhere,
      progress: [...progress],
    };
  }

  #request(copy: AgentCopy<WireAgentLease>): ExchangeLeasesRequest {
    return create(ExchangeLeasesRequestSchema, {
      ...this.#beside([]),
      copy: create(AgentCopySchema, {
        sessionId: copy.sessionId,
        epoch: BigInt(copy.epoch),
        revision: BigInt(copy.revision),
        acknowledgedRevision: BigInt(copy.acknowledged),
        wantsWholeCopy: copy.wantsWhole,
        list:
          copy.list.kind === 'digest'
            ? { case: 'digest', value: Buffer.from(copy.list.digest, 'hex') }
            : {
                case: 'leases',
                value: create(AgentLeaseListSchema, {
                  leases: copy.list.leases.map(
                    ({ leaseId, attempt, state, report }) =>
                      report ?? create(AgentLeaseSchema, { leaseId, attempt, state: liveState(state) }),
                  ),
                }),
              },
      }),
    });
  }
}

/** What the agent sends, one message after the other. */
class OutgoingRequests implements AsyncIterableIterator<ExchangeLeasesRequest> {
  readonly #queue: ExchangeLeasesRequest[] = [];
  #last: ExchangeLeasesRequest | undefined;
  #waiter: ((result: IteratorResult<ExchangeLeasesRequest>) => void) | undefined;
  #ended = false;

  put(request: ExchangeLeasesRequest): void {
    if (this.#ended) return;
    this.#last = request;
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter === undefined) this.#queue.push(request);
    else waiter({ done: false, value: request });
  }

  repeat(beside: Partial<ExchangeLeasesRequest>): void {
    if (this.#last === undefined) return;
    const { conditionReason: _reason, description: _description, ...last } = this.#last;
    this.put({ ...last, ...beside });
  }

  end(): void {
    this.#ended = true;
    this.#waiter?.({ done: true, value: undefined });
  }

  next(): Promise<IteratorResult<ExchangeLeasesRequest>> {
    const value = this.#queue.shift();
    if (value !== undefined) return Promise.resolve({ done: false, value });
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => (this.#waiter = resolve));
  }

  return(): Promise<IteratorResult<ExchangeLeasesRequest>> {
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
