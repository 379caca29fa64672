import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { DroverError } from '@drover/lease-kit';
import {
  AgentCondition,
  AgentState,
  ExchangeLeasesResponseSchema,
  ServerCopySchema,
  ServerLeaseSchema,
  ServerState,
  type AgentLease,
  type ExchangeLeasesRequest,
  type ExchangeLeasesResponse,
} from '@drover/lease-protocol';
import {
  initialServerState,
  keyString,
  nextServerDeadlineMs,
  stepServerBatch,
  type AgentLeaseState,
  type BoundAttempt,
  type ServerCopy,
  type ServerEvent,
  type ServerState as MachineState,
} from '@drover/reconciler-state-machine';
import { listDigest } from '../wire-copy.ts';
import type { Mailbox } from './mailbox.ts';
import type { MemoryAttempt, MemoryLeaseServer, MemoryLeaseServerOptions } from './memory-lease-server.ts';

/** One session of a {@link MemoryLeaseServer}: the server machine and its link. */
export class MemorySession {
  readonly sessionId: string;
  readonly #server: MemoryLeaseServer;
  readonly #state: MachineState<AgentLease>;
  readonly #events: ServerEvent<AgentLease>[] = [];
  readonly #epoch: number;
  #link: Mailbox<ExchangeLeasesResponse> | undefined;
  #last: ExchangeLeasesResponse | undefined;
  #foretold = new Set<string>();
  #stepping = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(server: MemoryLeaseServer, sessionId: string, epoch: number, times: Required<MemoryLeaseServerOptions>) {
    this.#server = server;
    this.sessionId = sessionId;
    this.#epoch = epoch;
    this.#state = initialServerState({ sessionId, epoch, ...times, leasesMax: 4_096, digest: listDigest });
  }

  assign(attempts: readonly MemoryAttempt[]): void {
    for (const attempt of attempts) attempt.epoch = this.#epoch;
    if (attempts.length > 0) this.dispatch({ type: 'assigned', attempts: attempts.map(boundAttempt) });
  }

  open(link: Mailbox<ExchangeLeasesResponse>): void {
    if (this.#link === link) return;
    this.#link?.end();
    this.#link = link;
    this.#foretold.clear();
    this.dispatch({ type: 'link-opened', nowMs: performance.now() });
  }

  closed(link: Mailbox<ExchangeLeasesResponse>): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    this.dispatch({ type: 'link-lost', nowMs: performance.now() });
  }

  breakLink(error: DroverError): void {
    this.#link?.end(error);
  }

  /** Says something beside the copies. */
  say(response: ExchangeLeasesResponse): void {
    this.#link?.put(response);
    // On this link their work is not said again.
    for (const { leaseId } of response.upcoming) this.#foretold.add(leaseId);
  }

  /** Says the newest copy again, with what is wished now. */
  wish(wishedCondition: AgentCondition): void {
    if (this.#last === undefined) return;
    this.#last = { ...this.#last, wishedCondition };
    this.#link?.put(this.#last);
  }

  last(): ExchangeLeasesResponse {
    return this.#last!;
  }

  receive(request: ExchangeLeasesRequest): void {
    const copy = request.copy!;
    const header = {
      sessionId: copy.sessionId,
      epoch: Number(copy.epoch),
      revision: Number(copy.revision),
      acknowledged: Number(copy.acknowledgedRevision),
      wantsWhole: copy.wantsWholeCopy,
    };
    const list =
      copy.list.case === 'digest'
        ? { kind: 'digest' as const, digest: Buffer.from(copy.list.value).toString('hex') }
        : {
            kind: 'whole' as const,
            leases: copy.list.value!.leases.map((lease) => ({
              leaseId: lease.leaseId,
              attempt: lease.attempt,
              state: agentStates[lease.state]!,
              ...(lease.state === AgentState.REFUSED || lease.state === AgentState.FINISHED ? { report: lease } : {}),
            })),
          };
    this.dispatch({ type: 'copy-received', copy: { ...header, list }, nowMs: performance.now() });
  }

  dispatch(event: ServerEvent<AgentLease>): void {
    this.#events.push(event);
    if (this.#stepping) return;
    this.#stepping = true;
    while (this.#events.length > 0) {
      for (const effect of stepServerBatch(this.#state, this.#events.splice(0)).effects) {
        if (effect.type === 'write') {
          for (const write of effect.writes) {
            const attempt = this.#server.attempts.get(keyString(write.key));
            if (!attempt) continue;
            if (write.kind === 'end') this.#server.end(attempt, write.ending);
            else {
              if (attempt.state === 'offered') attempt.state = 'accepted';
              attempt.goingDown ||= write.goingDown === true;
            }
          }
          this.#events.push({ type: 'written', writeId: effect.writeId, result: 'persisted' });
        } else if (effect.type === 'send') {
          this.#last = this.#toWire(effect.copy);
          this.#link?.put(this.#last);
        } else if (effect.type === 'end-session') {
          clearTimeout(this.#timer);
          const fenced = effect.reason === 'fenced';
          this.#link?.end(
            new DroverError({
              code: fenced
                ? 'SESSION_FENCED'
                : effect.reason === 'server-stopping'
                  ? 'SERVER_STOPPING'
                  : 'SESSION_UNKNOWN',
              advice: fenced ? 'fenced' : effect.reason === 'server-stopping' ? 'unavailable' : 'not-found',
              message: effect.message,
            }),
          );
        }
      }
    }
    this.#stepping = false;
    clearTimeout(this.#timer);
    const dueMs = nextServerDeadlineMs(this.#state);
    if (dueMs !== undefined && this.#state.phase !== 'ended') {
      const tick = () => this.dispatch({ type: 'tick', nowMs: performance.now() });
      this.#timer = setTimeout(tick, Math.max(0, dueMs - performance.now())).unref();
    }
    this.#server.changed();
  }

  #toWire(copy: ServerCopy): ExchangeLeasesResponse {
    const list =
      copy.list.kind === 'digest'
        ? { case: 'digest' as const, value: Buffer.from(copy.list.digest, 'hex') }
        : {
            case: 'leases' as const,
            value: { leases: copy.list.leases.map((lease) => this.#entry(lease, lease.withWork)) },
          };
    return create(ExchangeLeasesResponseSchema, {
      wishedCondition: this.#server.wishesBusy ? AgentCondition.BUSY : AgentCondition.READY,
      copy: create(ServerCopySchema, {
        sessionId: copy.sessionId,
        epoch: BigInt(copy.epoch),
        revision: BigInt(copy.revision),
        acknowledgedRevision: BigInt(copy.acknowledged),
        wantsWholeCopy: copy.wantsWhole,
        list,
      }),
    });
  }

  #entry(lease: { leaseId: string; attempt: number; state: keyof typeof serverStates }, withWork: boolean) {
    const attempt = this.#server.attempts.get(keyString(lease));
    const entry = create(ServerLeaseSchema, {
      leaseId: lease.leaseId,
      attempt: lease.attempt,
      state: serverStates[lease.state],
    });
    if (!attempt || !withWork || this.#foretold.has(lease.leaseId)) return entry;
    const { work } = attempt;
    entry.work = 'hash' in work ? { case: 'payloadDigest', value: work } : { case: 'payload', value: work };
    for (const [name, amount] of Object.entries(attempt.resources)) entry.resources[name] = BigInt(amount);
    entry.exclusive = attempt.exclusive;
    if (attempt.runLimitMs !== undefined) entry.runLimit = durationFromMs(attempt.runLimitMs);
    entry.cancelGrace = durationFromMs(attempt.cancelGraceMs);
    return entry;
  }
}

const serverStates = {
  offered: ServerState.OFFERED,
  accepted: ServerState.ACCEPTED,
  cancelling: ServerState.CANCELLING,
} as const;

const agentStates: Readonly<Record<number, AgentLeaseState>> = {
  [AgentState.ACCEPTED]: 'accepted',
  [AgentState.GOING_DOWN]: 'going-down',
  [AgentState.REFUSED]: 'refused',
  [AgentState.FINISHED]: 'finished',
};

/** An attempt as the machine takes it. */
export const boundAttempt = ({ leaseId, attempt, state }: MemoryAttempt): BoundAttempt => ({ leaseId, attempt, state });
