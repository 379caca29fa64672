import { randomUUID } from 'node:crypto';
import { create, fromBinary, toBinary, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import { anyPack, durationFromMs, type Any } from '@bufbuild/protobuf/wkt';
import { DroverError, type LeaseClient, type LeaseEndpoint, type LeaseLink } from '@drover/lease-kit';
import {
  AgentCondition,
  AppendLogRequestSchema,
  AppendLogResponseSchema,
  FetchSecretsRequestSchema,
  FetchSecretsResponseSchema,
  BlobDigestSchema,
  ExchangeLeasesRequestSchema,
  ExchangeLeasesResponseSchema,
  OpenSessionRequestSchema,
  OpenSessionResponseSchema,
  ServerLeaseSchema,
  ServerState,
  type AgentCopy as WireAgentCopy,
  type AgentLease,
  type AppendLogRequest,
  type AppendLogResponse,
  type FetchSecretsRequest,
  type FetchSecretsResponse,
  type BlobDigest,
  type ExchangeLeasesRequest,
  type ExchangeLeasesResponse,
  type LeaseProgress,
  type OpenSessionRequest,
  type OpenSessionResponse,
  type ServerLease,
} from '@drover/lease-protocol';
import { keyString, type AttemptEnding, type AttemptKey } from '@drover/reconciler-state-machine';
import { Mailbox } from './mailbox.ts';
import { boundAttempt, MemorySession } from './memory-session.ts';

/** An attempt, as the memory server keeps it. */
export interface MemoryAttempt extends AttemptKey {
  readonly work: Any | BlobDigest;
  readonly resources: Readonly<Record<string, number>>;
  readonly exclusive: boolean;
  readonly runLimitMs: number | undefined;
  readonly cancelGraceMs: number;
  state: 'offered' | 'accepted' | 'cancelling';
  /** The agent has said that it goes down because of it. */
  goingDown: boolean;
  /** The session's epoch that it is bound to; 0 for none yet. */
  epoch: number;
  /** Set once. */
  ending: AttemptEnding<AgentLease> | undefined;
}

/** How an attempt is to be made. */
export interface MemoryAttemptOptions {
  readonly leaseId?: string;
  readonly attempt?: number;
  readonly resources?: Readonly<Record<string, number>>;
  readonly exclusive?: boolean;
  readonly runLimitMs?: number;
  /** Default 1 s. */
  readonly cancelGraceMs?: number;
}

/** Times of a memory server. */
export interface MemoryLeaseServerOptions {
  /** Default 1 s. */
  readonly heartbeatMs?: number;
  /** Default 10 s. */
  readonly sessionTimeoutMs?: number;
}

/**
 * A server for one agent, in memory, around the real server machine: for tests of agents and lease types without a database.
 * It is strict: what the protocol rules out ends the session, and an attempt ends once. Messages are serialized, as on a wire.
 */
export class MemoryLeaseServer implements LeaseEndpoint {
  readonly attempts = new Map<string, MemoryAttempt>();
  readonly logs = new Map<string, { bytes: Buffer; complete: boolean }>();
  /** Secrets by lease id, and by name. */
  readonly secrets = new Map<string, Readonly<Record<string, string>>>();
  readonly progress: LeaseProgress[] = [];
  readonly sessionsOpened: OpenSessionRequest[] = [];
  /** Every message of the agent. */
  readonly received: ExchangeLeasesRequest[] = [];
  /** While set, every call fails with it. */
  outage: DroverError | undefined;
  /** Operators need the machine for something else. */
  wishesBusy = false;
  #session: MemorySession | undefined;
  #epoch = 0;
  readonly #options: Required<MemoryLeaseServerOptions>;
  readonly #waiters = new Set<() => void>();

  constructor(options: MemoryLeaseServerOptions = {}) {
    this.#options = { heartbeatMs: options.heartbeatMs ?? 1_000, sessionTimeoutMs: options.sessionTimeoutMs ?? 10_000 };
  }

  /** Offers work to the agent, now or when it comes. */
  offer<Desc extends DescMessage>(
    schema: Desc,
    message: MessageShape<Desc>,
    options: MemoryAttemptOptions = {},
  ): MemoryAttempt {
    return this.offerAny(anyPack(schema, message), options);
  }

  /** {@link offer} for a message that is packed already. */
  offerAny(work: Any, options: MemoryAttemptOptions = {}): MemoryAttempt {
    return this.#offer(work, options);
  }

  /** {@link offer} for a packed message that is a blob. */
  offerDigest(
    blob: { readonly hash: string; readonly sizeBytes: number },
    options: MemoryAttemptOptions = {},
  ): MemoryAttempt {
    const { hash, sizeBytes } = blob;
    return this.#offer(create(BlobDigestSchema, { hash, sizeBytes: BigInt(sizeBytes) }), options);
  }

  /** Tells the agent of work that may be offered soon, if it has a link. */
  foretell(leaseId: string, work: ServerLease['work']): void {
    const upcoming = [create(ServerLeaseSchema, { leaseId, attempt: 1, state: ServerState.OFFERED, work })];
    this.#session?.say(create(ExchangeLeasesResponseSchema, { upcoming }));
  }

  #offer(work: Any | BlobDigest, options: MemoryAttemptOptions): MemoryAttempt {
    const attempt: MemoryAttempt = {
      leaseId: options.leaseId ?? randomUUID(),
      attempt: options.attempt ?? 1,
      work,
      resources: options.resources ?? {},
      exclusive: options.exclusive ?? false,
      runLimitMs: options.runLimitMs,
      cancelGraceMs: options.cancelGraceMs ?? 1_000,
      state: 'offered',
      goingDown: false,
      epoch: 0,
      ending: undefined,
    };
    this.attempts.set(keyString(attempt), attempt);
    this.#session?.assign([attempt]);
    return attempt;
  }

  /** Wishes that an attempt ends. */
  cancel(attempt: MemoryAttempt): void {
    attempt.state = 'cancelling';
    this.#session?.dispatch({ type: 'cancel-wished', key: attempt });
  }

  /** Forgets an attempt as if it had never been, in a new session of the agent. */
  disown(attempt: MemoryAttempt): void {
    this.attempts.delete(keyString(attempt));
    this.breakSession();
  }

  /** Resolves when `condition` holds; looked at after every change. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiters.add(resolve));
  }

  /** How an attempt ended, once it has. */
  async ended(attempt: MemoryAttempt): Promise<AttemptEnding<AgentLease>> {
    await this.until(() => attempt.ending !== undefined);
    return attempt.ending!;
  }

  /** Says that operators need the machine for something else, or no longer. */
  wishBusy(busy: boolean): void {
    this.wishesBusy = busy;
    this.#session?.wish(busy ? AgentCondition.BUSY : AgentCondition.READY);
  }

  /** Cuts the agent's link; its session goes on. */
  breakLink(): void {
    this.#session?.breakLink(new DroverError({ code: 'RPC_UNAVAILABLE', advice: 'unavailable', message: 'cut' }));
  }

  /** Forgets the session: the agent opens another. */
  breakSession(): void {
    this.#session?.breakLink(new DroverError({ code: 'SESSION_UNKNOWN', advice: 'not-found', message: 'forgotten' }));
  }

  /** Has another process take over the agent's name. */
  fence(): void {
    this.#epoch += 1;
    this.#session?.dispatch({ type: 'fenced' });
  }

  /** Lets go of timers and links. */
  close(): void {
    this.#session?.dispatch({ type: 'stopping' });
    this.#session = undefined;
  }

  /** This server, as an agent in the same process calls it. */
  client(): LeaseClient {
    const principal = { kind: 'agent', id: 'memory' } as const;
    return {
      openSession: async (request, signal) =>
        copied(
          OpenSessionResponseSchema,
          await this.openSession(copied(OpenSessionRequestSchema, request), { principal, signal }),
        ),
      appendLog: async (request, signal) =>
        copied(
          AppendLogResponseSchema,
          await this.appendLog(copied(AppendLogRequestSchema, request), { principal, signal }),
        ),
      fetchSecrets: async (request, signal) =>
        copied(
          FetchSecretsResponseSchema,
          await this.fetchSecrets(copied(FetchSecretsRequestSchema, request), { principal, signal }),
        ),
      link: (signal) => memoryLink(this, signal),
    };
  }

  openSession(request: OpenSessionRequest, _context?: unknown): Promise<OpenSessionResponse> {
    if (this.outage) return Promise.reject(this.outage);
    this.sessionsOpened.push(request);
    this.#session?.dispatch({ type: 'fenced' });
    const epoch = ++this.#epoch;
    const proven = new Set(request.proven.map(keyString));
    const bound: MemoryAttempt[] = [];
    const fresh: MemoryAttempt[] = [];
    for (const [name, attempt] of this.attempts) {
      if (attempt.ending) continue;
      if (attempt.epoch === 0) fresh.push(attempt);
      else if (proven.has(name)) {
        attempt.epoch = epoch;
        attempt.goingDown &&= request.goingDown.some((key) => keyString(key) === name);
        bound.push(attempt);
      } else this.end(attempt, { kind: 'lost' });
    }
    const session = new MemorySession(this, randomUUID(), epoch, this.#options);
    this.#session = session;
    session.dispatch({ type: 'loaded', attempts: bound.map(boundAttempt), nowMs: performance.now() });
    session.assign(fresh);
    this.changed();
    return Promise.resolve(
      create(OpenSessionResponseSchema, {
        sessionId: session.sessionId,
        epoch: BigInt(epoch),
        heartbeatInterval: durationFromMs(this.#options.heartbeatMs),
        sessionTimeout: durationFromMs(this.#options.sessionTimeoutMs),
        messageSizeMaxBytes: 4 * 1024 * 1024,
      }),
    );
  }

  async *exchange(requests: AsyncIterable<ExchangeLeasesRequest>): AsyncIterable<ExchangeLeasesResponse> {
    const out = new Mailbox<ExchangeLeasesResponse>();
    let session: MemorySession | undefined;
    void (async () => {
      try {
        for await (const request of requests) {
          if (this.outage) throw this.outage;
          session ??= this.#sessionOf(request.copy);
          session.open(out);
          this.take(request);
          session.receive(request);
        }
        out.end();
      } catch (error) {
        out.end(error);
      }
      session?.closed(out);
    })();
    yield* out;
  }

  async poll(request: ExchangeLeasesRequest, waitMs: number): Promise<ExchangeLeasesResponse> {
    if (this.outage) throw this.outage;
    const session = this.#sessionOf(request.copy);
    const out = new Mailbox<ExchangeLeasesResponse>();
    session.open(out);
    this.take(request);
    session.receive(request);
    const timer = setTimeout(() => out.end(), waitMs);
    try {
      for await (const answer of out) return answer;
      return session.last();
    } finally {
      clearTimeout(timer);
      session.closed(out);
    }
  }

  async fetchSecrets(request: FetchSecretsRequest, _context?: unknown): Promise<FetchSecretsResponse> {
    this.#boundAttempt(request);
    const secrets = this.secrets.get(request.attempt!.leaseId) ?? {};
    const encoder = new TextEncoder();
    return create(FetchSecretsResponseSchema, {
      secrets: Object.fromEntries(Object.entries(secrets).map(([name, value]) => [name, encoder.encode(value)])),
    });
  }

  /** Throws unless the session holds the attempt that a request is about. */
  #boundAttempt(request: Pick<AppendLogRequest, 'attempt' | 'sessionId'>): string {
    if (this.outage) throw this.outage;
    const name = keyString(request.attempt!);
    const attempt = this.attempts.get(name);
    if (this.#session?.sessionId !== request.sessionId) {
      throw new DroverError({ code: 'SESSION_FENCED', advice: 'fenced', message: 'an old session' });
    }
    if (!attempt || attempt.ending || attempt.epoch !== this.#epoch) {
      throw new DroverError({ code: 'ATTEMPT_UNKNOWN', advice: 'not-found', message: `no ${name}` });
    }
    return name;
  }

  async appendLog(request: AppendLogRequest, _context?: unknown): Promise<AppendLogResponse> {
    const name = this.#boundAttempt(request);
    const key = `${name}/${request.log}`;
    const log = this.logs.get(key) ?? { bytes: Buffer.alloc(0), complete: false };
    const offset = Number(request.offset);
    if (offset <= log.bytes.length) {
      log.bytes = Buffer.concat([log.bytes, request.data.subarray(log.bytes.length - offset)]);
      log.complete ||= request.complete;
    }
    this.logs.set(key, log);
    this.changed();
    return create(AppendLogResponseSchema, { committedBytes: BigInt(log.bytes.length) });
  }

  /** What a log holds. */
  logText(attempt: AttemptKey, log: string): string | undefined {
    return this.logs.get(`${keyString(attempt)}/${log}`)?.bytes.toString();
  }

  /** @internal */
  end(attempt: MemoryAttempt, ending: AttemptEnding<AgentLease>): void {
    if (attempt.ending) throw new Error(`attempt ${keyString(attempt)} ended twice`);
    attempt.ending = ending;
  }

  /** @internal */
  take(request: ExchangeLeasesRequest): void {
    this.received.push(request);
    this.progress.push(...request.progress);
  }

  /** @internal */
  changed(): void {
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const waiter of waiters) waiter();
  }

  #sessionOf(copy: WireAgentCopy | undefined): MemorySession {
    const session = this.#session;
    if (session && copy?.sessionId === session.sessionId) return session;
    throw new DroverError({ code: 'SESSION_UNKNOWN', advice: 'not-found', message: 'no such session' });
  }
}

const copied = <Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): MessageShape<Desc> =>
  fromBinary(schema, toBinary(schema, message));

function memoryLink(server: MemoryLeaseServer, signal: AbortSignal): LeaseLink {
  const requests = new Mailbox<ExchangeLeasesRequest>();
  const answers = server.exchange(requests)[Symbol.asyncIterator]();
  let closed = false;
  const close = (): Promise<void> => {
    closed = true;
    requests.end();
    return Promise.resolve();
  };
  signal.addEventListener('abort', () => void close(), { once: true });
  async function* messages(): AsyncGenerator<ExchangeLeasesResponse> {
    for (;;) {
      const { done, value } = await answers.next();
      if (done || closed) return;
      yield copied(ExchangeLeasesResponseSchema, value as ExchangeLeasesResponse);
    }
  }
  return {
    send: (message) => requests.put(copied(ExchangeLeasesRequestSchema, message)),
    messages: messages(),
    close,
    [Symbol.asyncDispose]: close,
  };
}
