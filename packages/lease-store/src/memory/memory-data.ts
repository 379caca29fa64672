import type { Any } from '@bufbuild/protobuf/wkt';
import type { AbsenceGrant, AssignedAttempt, Clock, LeaseDraft, LeaseRequirements } from '@drover/lease-kit';
import type { AgentDescription } from '@drover/lease-protocol';
import type { AgentHealthRecord } from '../agent-health-store.ts';
import type { AgentSettings } from '../agent-settings-store.ts';
import type { AttemptOutcome, AttemptWriteResult, LostAttempt } from '../attempt-store.ts';
import { leaseClassKey } from '../check-store-input.ts';
import type { EnqueueEntry, SessionRef } from '../lease-queue.ts';
import { retryDecision } from '../retry-decision.ts';
import type { AgentRecord } from '../session-store.ts';
import { callCancelled, leaseExists, storeClosed } from '../store-errors.ts';
import type { StoreContext } from '../store-context.ts';
import { storeLimits } from '../store-limits.ts';

/** An attempt that has ended. */
export interface EndedMemoryAttempt extends SessionRef {
  readonly attempt: number;
  readonly assignedAtMs: number;
  readonly endedAtMs: number;
  readonly outcome: AttemptOutcome;
  readonly reason?: { readonly code: string; readonly message: string };
  /** No other attempt followed. */
  readonly final: boolean;
}

/** A lease, live or ended. */
export interface MemoryLease {
  readonly draft: LeaseDraft;
  readonly classId: number;
  readonly jobId: string | undefined;
  /** Sealed; undefined for none, and once the lease has ended. */
  secrets: Uint8Array | undefined;
  readonly seq: number;
  readonly createdAtMs: number;
  state: 'waiting' | 'offered' | 'accepted' | 'cancelling' | 'ended';
  attempt: number;
  /** While an attempt is bound. */
  bound: (SessionRef & { readonly assignedAtMs: number }) | undefined;
  dueAtMs: number;
  counted: number;
  cancelReason: string | undefined;
  cancelCode: string | undefined;
  goingDown: boolean;
  expiresAtMs: number;
  /** Why it ended while it waited, where nobody cancelled it. */
  endedWaiting: { readonly code: string; readonly message: string } | undefined;
  excluded: readonly string[];
  readonly attempts: EndedMemoryAttempt[];
  output: Any | undefined;
  succeeded: boolean;
}

/** An agent. */
export interface MemoryAgent {
  readonly agentId: string;
  epoch: number;
  description: AgentDescription;
  session: { readonly sessionId: string; readonly serverId: string; readonly openedAtMs: number } | undefined;
  instanceNonce: string;
  condition: AgentRecord['condition'];
  conditionReason: AgentRecord['conditionReason'];
  quarantinedUntilMs: number;
  /** When its last session ended; undefined while it has one. */
  leftAtMs: number | undefined;
  takeoversAtMs: readonly number[];
  /** While it has no session: since when it was not heard of. */
  awaySinceMs: number;
  drain: { readonly source: string; readonly reason: string; readonly untilMs: number } | undefined;
}

/** A job. */
export interface MemoryJob {
  readonly jobId: string;
  readonly requestId: string | undefined;
  readonly submitter: string;
  readonly name: string;
  readonly payload: Any;
  readonly priority: number;
  readonly createdAtMs: number;
  readonly seq: number;
  readonly leases: MemoryLease[];
  cancelReason: string | undefined;
}

/** What an end says. */
export interface MemoryEnd {
  readonly outcome: AttemptOutcome;
  readonly reason?: { readonly code: string; readonly message: string } | undefined;
  readonly output?: Any | undefined;
  readonly succeeded?: boolean | undefined;
  readonly noRetry: boolean;
}

/** A lease class, see `WaitingClass`. */
export interface MemoryClass {
  readonly classId: number;
  readonly source: string;
  readonly typeUrl: string;
  readonly requirements: LeaseRequirements;
  readonly submitter: string;
}

const neverReturned = {
  code: 'AGENT_NEVER_RETURNED',
  message: 'The agent stayed away for longer than this lease allows.',
};

/** Ended leases that are kept, the newest ones. */
const endedLeasesMax = 10_000;

/** What the memory store remembers, and the steps that several ports share. A call changes it at one go or not at all. */
export class MemoryData {
  readonly clock: Clock;
  readonly leases = new Map<string, MemoryLease>();
  readonly live = new Set<MemoryLease>();
  readonly agents = new Map<string, MemoryAgent>();
  readonly jobs = new Map<string, MemoryJob>();
  readonly settings = new Map<string, AgentSettings>();
  readonly health = new Map<string, AgentHealthRecord>();
  /** Told of agents that are forgotten. */
  readonly onAgentForgotten: ((agentId: string) => void)[] = [];
  /** Called with the name of a group of agent tasks of which nothing further is to be bound. */
  readonly onGroupStopped: ((name: string) => void)[] = [];
  /** Not below the epoch of any agent that was removed. */
  epochFloor = 0;
  readonly servers = new Map<string, { beatAtMs: number; leftAtMs: number | undefined }>();
  readonly #classes = new Map<string, MemoryClass>();
  readonly #ended: MemoryLease[] = [];
  /** Forgets what belongs to a lease elsewhere. */
  readonly onForgotten = new Set<(leaseId: string) => void>();
  /** The pools that an agent's enrolment binds it to; the store of enrolments says it. */
  poolsAllowedOf: (agentId: string) => readonly string[] = () => [];
  isClosed = false;
  #seq = 0;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Throws for a store that is closed or a call that was aborted. */
  enter({ signal }: Pick<StoreContext, 'signal'>): void {
    if (this.isClosed) throw storeClosed();
    if (signal?.aborted) throw callCancelled(signal.reason);
  }

  /** A number that grows. */
  nextSeq(): number {
    this.#seq += 1;
    return this.#seq;
  }

  /** The class of a draft. */
  classOf(draft: LeaseDraft): MemoryClass {
    const { source, requirements, submitter = '' } = draft;
    const { typeUrl } = draft.payload;
    const key = JSON.stringify([source, typeUrl, leaseClassKey(draft)]);
    let found = this.#classes.get(key);
    if (!found) {
      found = { classId: this.#classes.size + 1, source, typeUrl, requirements, submitter };
      this.#classes.set(key, found);
    }
    return found;
  }

  isCurrent({ agentId, epoch }: SessionRef): boolean {
    const agent = this.agents.get(agentId);
    return agent?.session !== undefined && agent.epoch === epoch;
  }

  /** Throws `LEASE_EXISTS` if one of the ids is taken. */
  checkNew(entries: readonly EnqueueEntry[]): void {
    const taken = entries.find(({ draft }) => this.leases.has(draft.leaseId));
    if (taken) throw leaseExists(taken.draft.leaseId);
  }

  /** Adds a lease, bound if its session is current. */
  add({ draft, jobId, bindTo, secrets }: EnqueueEntry): MemoryLease {
    const lease: MemoryLease = {
      draft: structuredClone(draft),
      classId: this.classOf(draft).classId,
      jobId,
      secrets,
      seq: this.nextSeq(),
      createdAtMs: this.clock.wallMs(),
      state: 'waiting',
      attempt: 0,
      bound: undefined,
      dueAtMs: 0,
      counted: 0,
      cancelReason: undefined,
      cancelCode: undefined,
      goingDown: false,
      endedWaiting: undefined,
      expiresAtMs: this.clock.wallMs() + (draft.timeouts?.leaseMsMax ?? Infinity),
      excluded: [],
      attempts: [],
      output: undefined,
      succeeded: false,
    };
    this.leases.set(draft.leaseId, lease);
    this.live.add(lease);
    if (bindTo && this.isCurrent(bindTo)) this.bind(lease, bindTo);
    return lease;
  }

  /** Makes a lease's next attempt, bound to a session. */
  bind(lease: MemoryLease, { agentId, epoch }: SessionRef): void {
    lease.attempt += 1;
    lease.state = 'offered';
    lease.bound = { agentId, epoch, assignedAtMs: this.clock.wallMs() };
  }

  /** The bound attempt of a lease, as it is handed out. */
  assigned(lease: MemoryLease): AssignedAttempt[] {
    if (!lease.bound) return [];
    const { leaseId, payload, requirements, submitter, runLimitMs, cancelGraceMs, absence, timeouts } = lease.draft;
    const { agentId, epoch } = lease.bound;
    const { attempt } = lease;
    return [
      {
        ...{ leaseId, attempt, agentId, epoch, payload, requirements, runLimitMs, cancelGraceMs },
        ...(submitter === undefined ? {} : { submitter }),
        ...(absence ? { absence } : {}),
        ...(timeouts && Object.keys(timeouts).length > 0 ? { timeouts } : {}),
      },
    ];
  }

  /** The lease whose current attempt is bound to exactly this session. */
  boundLease(key: SessionRef & { readonly leaseId: string; readonly attempt: number }): MemoryLease | undefined {
    const lease = this.leases.get(key.leaseId);
    const isBound =
      lease?.attempt === key.attempt && lease.bound?.agentId === key.agentId && lease.bound.epoch === key.epoch;
    return isBound ? lease : undefined;
  }

  /** Ends the bound attempt of a lease; the lease waits again or ends. */
  endAttempt(lease: MemoryLease, end: MemoryEnd): Extract<AttemptWriteResult, { result: 'persisted' }> {
    const { bound } = lease;
    if (!bound) throw new RangeError(`lease ${lease.draft.leaseId} has no bound attempt`);
    const decision = retryDecision(lease.draft.retry, {
      outcome: end.outcome,
      ...(end.succeeded === undefined ? {} : { succeeded: end.succeeded }),
      ...(end.reason === undefined ? {} : { reasonCode: end.reason.code }),
      noRetry: end.noRetry,
      cancelWished: lease.state === 'cancelling',
      attemptsCounted: lease.counted,
    });
    lease.attempts.push({
      ...bound,
      attempt: lease.attempt,
      endedAtMs: this.clock.wallMs(),
      outcome: end.outcome,
      final: decision.final,
      ...(end.reason ? { reason: end.reason } : {}),
    });
    lease.bound = undefined;
    lease.goingDown = false;
    if (end.outcome !== 'refused') lease.counted += 1;
    if (decision.final) {
      lease.output = end.output;
      lease.succeeded = end.outcome === 'completed' && end.succeeded !== false;
      this.retire(lease);
    } else {
      lease.state = 'waiting';
      lease.dueAtMs = decision.delayMs === 0 ? 0 : this.clock.wallMs() + decision.delayMs;
      if (decision.excludes) {
        lease.excluded = [...lease.excluded.filter((id) => id !== bound.agentId), bound.agentId].slice(
          -storeLimits.excludedAgentsMax,
        );
      }
    }
    const job = lease.jobId === undefined ? {} : { jobId: lease.jobId };
    return { result: 'persisted', final: decision.final, ...job };
  }

  /** Moves a lease to the ended ones, of which the newest are kept. */
  retire(lease: MemoryLease): void {
    lease.state = 'ended';
    lease.secrets = undefined;
    this.live.delete(lease);
    this.#ended.push(lease);
    const forgotten = this.#ended.length > endedLeasesMax ? this.#ended.shift() : undefined;
    if (!forgotten) return;
    this.leases.delete(forgotten.draft.leaseId);
    for (const forget of this.onForgotten) forget(forgotten.draft.leaseId);
    const job = forgotten.jobId === undefined ? undefined : this.jobs.get(forgotten.jobId);
    if (job?.leases.every(({ draft }) => !this.leases.has(draft.leaseId))) this.jobs.delete(job.jobId);
  }

  /** What a lease grants to the agent that stays away with its accepted attempt. */
  grantOf(lease: MemoryLease): AbsenceGrant | undefined {
    const { bound, draft, state, goingDown } = lease;
    const agent = bound && this.agents.get(bound.agentId);
    const isTaken = state === 'accepted' || goingDown;
    return isTaken && agent?.epoch === bound?.epoch ? draft.absence : undefined;
  }

  /** False while the agent may still stay away with the attempt. */
  isAwayTooLong(lease: MemoryLease): boolean {
    const grant = this.grantOf(lease);
    const agent = lease.bound && this.agents.get(lease.bound.agentId);
    return !grant || !agent || agent.awaySinceMs + grant.msMax <= this.clock.wallMs();
  }

  /** Ends attempts whose session has gone: as lost, or as their leases' grants say. */
  lose(leases: readonly MemoryLease[], reason: { readonly code: string; readonly message: string }): LostAttempt[] {
    return leases.flatMap((lease) => {
      if (!lease.bound) return [];
      const { agentId, epoch } = lease.bound;
      const { attempt } = lease;
      const then = this.grantOf(lease)?.then ?? 'lost';
      const outcome = then === 'completed' && !lease.goingDown ? 'lost' : then;
      const why = outcome === 'failed' ? neverReturned : outcome === 'lost' ? reason : undefined;
      const ended = this.endAttempt(lease, { outcome, reason: why, noRetry: false });
      return {
        agentId,
        epoch,
        leaseId: lease.draft.leaseId,
        attempt,
        source: lease.draft.source,
        outcome,
        final: ended.final === true,
        ...(lease.jobId === undefined ? {} : { jobId: lease.jobId }),
      };
    });
  }

  /** Live leases with an attempt bound to an agent. */
  boundTo(agentId: string): MemoryLease[] {
    return [...this.live].filter((lease) => lease.bound?.agentId === agentId);
  }
}

/** The order in which waiting leases are assigned: priority, then age. */
export function inOrder(a: MemoryLease, b: MemoryLease): number {
  return b.draft.priority - a.draft.priority || a.seq - b.seq;
}
