import { create } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { isDroverError, messageOf, type Clock, type LeaseClient, type LeaseLink, type Logger } from '@drover/lease-kit';
import {
  AgentCondition,
  OpenSessionRequestSchema,
  type AgentDescription,
  type AgentLease,
  type ExchangeLeasesRequest,
  type ServerLease,
} from '@drover/lease-protocol';
import type { AgentEvent, AttemptKey, SessionRejection } from '@drover/reconciler-state-machine';
import type { LeaseAgentEvent } from './lease-agent-options.ts';
import { serverCopyFromWire } from './wire-copy.ts';

/** What an agent's calls work with. */
export interface SessionCallerDeps {
  readonly client: LeaseClient;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly agentId: string;
  readonly instanceNonce: string;
  /** What the agent is now. */
  readonly description: () => AgentDescription;
  readonly post: (event: AgentEvent<AgentLease>) => void;
  readonly emit: (event: LeaseAgentEvent) => void;
  /** Attempts that may be offered soon; the machine does not hear of them. */
  readonly onUpcoming: (entries: readonly ServerLease[]) => void;
  /** Entries of a whole copy, before the machine hears of it. */
  readonly onEntries: (entries: readonly ServerLease[]) => void;
  /** Whether operators need the machine for something else; said beside every copy, before the machine hears of it. */
  readonly onWishedBusy: (busy: boolean) => void;
  readonly onSession: (session: OpenedSession | undefined) => void;
}

/** A session that a server has opened. */
export interface OpenedSession {
  readonly sessionId: string;
  readonly epoch: bigint;
  readonly messageSizeMaxBytes: number;
}

/** A session that is not renewed in time is over; a server that says less than this is mistaken. */
const sessionTimeoutMsMin = 1_000;

/** Carries out the machine's effects on the network, one session and one link at a time. */
export class SessionCaller {
  readonly #deps: SessionCallerDeps;
  readonly #end = new AbortController();
  #link: LeaseLink | undefined;
  #openedAs: AgentDescription | undefined;
  #reading: Promise<void> = Promise.resolve();

  constructor(deps: SessionCallerDeps) {
    this.#deps = deps;
  }

  /** Opens a session; the machine hears how it went. */
  async openSession(proven: readonly AttemptKey[], goingDown: readonly AttemptKey[]): Promise<void> {
    const { client, clock, post, emit } = this.#deps;
    const { agentId, instanceNonce } = this.#deps;
    const agent = this.#deps.description();
    this.#openedAs = agent;
    this.#deps.onSession(undefined);
    const sentAtMs = clock.monotonicMs();
    try {
      const request = create(OpenSessionRequestSchema, {
        agentId,
        instanceNonce,
        agent,
        proven: [...proven],
        goingDown: [...goingDown],
      });
      const answer = await client.openSession(request, this.#end.signal);
      if (this.#end.signal.aborted) return;
      const sessionTimeoutMs = Math.max(
        sessionTimeoutMsMin,
        answer.sessionTimeout ? durationMs(answer.sessionTimeout) : 60_000,
      );
      const wishedMs = answer.heartbeatInterval ? durationMs(answer.heartbeatInterval) : 20_000;
      const heartbeatMs = Math.min(Math.max(100, wishedMs), sessionTimeoutMs / 2);
      const { sessionId, epoch, messageSizeMaxBytes } = answer;
      this.#deps.onSession({ sessionId, epoch, messageSizeMaxBytes });
      emit({ type: 'session-opened', sessionId, epoch: Number(epoch) });
      const nowMs = clock.monotonicMs();
      post({ type: 'session-opened', sessionId, epoch: Number(epoch), heartbeatMs, sessionTimeoutMs, sentAtMs, nowMs });
    } catch (error) {
      if (this.#end.signal.aborted) return;
      this.#report('session-failed', error);
      const reason = rejectionOf(error);
      const nowMs = clock.monotonicMs();
      post(reason ? { type: 'session-rejected', reason, nowMs } : { type: 'session-failed', nowMs });
    }
  }

  /** Opens a link; the machine hears at once that it is open, for a link that fails says so when it is read. */
  openLink(): void {
    const { client, clock, post } = this.#deps;
    const link = client.link(this.#end.signal);
    this.#link = link;
    post({ type: 'link-opened', nowMs: clock.monotonicMs() });
    this.#reading = this.#read(link);
  }

  /** Says something on the link that is open, if one is. */
  send(message: ExchangeLeasesRequest): void {
    this.#link?.send(message);
  }

  /** What the agent said that it is when it opened its newest session. */
  get openedAs(): AgentDescription | undefined {
    return this.#openedAs;
  }

  get linked(): boolean {
    return this.#link !== undefined;
  }

  /** Closes the link that is open. */
  closeLink(): void {
    const link = this.#link;
    this.#link = undefined;
    void link?.close();
  }

  /** Ends every call. Resolves when nothing is under way. */
  async close(): Promise<void> {
    this.closeLink();
    this.#end.abort();
    await this.#reading;
  }

  async #read(link: LeaseLink): Promise<void> {
    const { clock, post } = this.#deps;
    let failure: unknown;
    try {
      for await (const message of link.messages) {
        if (this.#link !== link) return;
        if (message.upcoming.length > 0) this.#deps.onUpcoming(message.upcoming);
        if (message.copy === undefined && message.upcoming.length > 0) continue;
        this.#deps.onWishedBusy(message.wishedCondition === AgentCondition.BUSY);
        const { copy, entries } = serverCopyFromWire(message.copy);
        this.#deps.onEntries(entries);
        post({ type: 'copy-received', copy, nowMs: clock.monotonicMs() });
      }
    } catch (error) {
      failure = error;
    }
    if (this.#link !== link) return;
    this.#link = undefined;
    void link.close();
    if (failure !== undefined) this.#report('link-lost', failure);
    const reason = failure === undefined ? undefined : rejectionOf(failure);
    const nowMs = clock.monotonicMs();
    post(reason ? { type: 'session-rejected', reason, nowMs } : { type: 'link-lost', nowMs });
  }

  #report(type: 'session-failed' | 'link-lost', error: unknown): void {
    const code = isDroverError(error) ? error.code : 'UNKNOWN';
    const message = messageOf(error);
    this.#deps.logger.warn({ code, err: error }, type === 'link-lost' ? 'link lost' : 'no session');
    this.#deps.emit({ type, code, message });
  }
}

/** What an error means for the session; undefined: nothing, the network is to blame. */
function rejectionOf(error: unknown): SessionRejection | undefined {
  if (!isDroverError(error)) return undefined;
  if (error.code === 'AGENT_QUARANTINED') return 'quarantined';
  if (error.advice === 'fenced') return 'fenced';
  if (error.code === 'SESSION_UNKNOWN') return 'unknown';
  return error.advice === 'fix-input' && !error.code.startsWith('RPC_') ? 'protocol-violation' : undefined;
}
