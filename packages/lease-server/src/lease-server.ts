import { randomUUID } from 'node:crypto';
import { DroverError, type LeaseEndpoint, type TaskSource } from '@drover/lease-kit';
import type { ImmediatePlacement } from '@drover/task-sources';
import { agentLink } from './agent-link.ts';
import { AssignmentLoop } from './assignment-loop.ts';
import {
  defaultLeaseServerLimits,
  defaultLeaseServerTiming,
  type LeaseServerDeps,
  type LeaseServerOptions,
} from './lease-server-options.ts';
import { DrainKeeper } from './drain-keeper.ts';
import { observeStatus } from './lease-metrics.ts';
import { createLocalPlacement } from './local-placement.ts';
import { ServerBeat } from './server-beat.ts';
import { serverParts, type ServerParts } from './server-parts.ts';
import { SessionAudit } from './session-audit.ts';
import { SessionRegistry } from './session-registry.ts';

/** A server at one moment. */
export interface LeaseServerStatus {
  readonly serverId: string;
  /** It is started, takes sessions and work, and the store answers. */
  readonly ready: boolean;
  readonly state: 'new' | 'running' | 'draining' | 'stopped';
  readonly storeAnswers: boolean;
  readonly sessions: number;
  /** Sessions with a stream or polls. */
  readonly linked: number;
  /** Agents that wait for work. */
  readonly hungry: number;
  /** Attempts that the sessions hold. */
  readonly attempts: number;
  /** Attempt writes that the store has not answered. */
  readonly pendingWrites: number;
  readonly pendingLogBytes: number;
}

/** A running server. */
export interface LeaseServer extends AsyncDisposable {
  readonly serverId: string;
  /** What a transport calls. */
  readonly endpoint: LeaseEndpoint;
  /** For those who submit leases in this process. */
  readonly placement: ImmediatePlacement;
  /** Ends the session that an agent has here at once, and tells it why; false if it has none. Its attempts end as lost. */
  evict(agentId: string, error: DroverError): boolean;
  /** True if the agent has a session here. */
  holds(agentId: string): boolean;
  /** Takes sessions from now on. Resolves after the first word with the store, which may have failed. Idempotent. */
  start(): Promise<void>;
  /** Hands out nothing more and takes no new session; those that exist go on. Idempotent. */
  drain(): Promise<void>;
  /**
   * Drains, waits up to `graceMs` (default 5 s) for writes that are under way, tells every agent to go to another server, and
   * leaves the store. No attempt ends by it. Idempotent.
   */
  stop(options?: { readonly graceMs?: number }): Promise<void>;
  status(): LeaseServerStatus;
}

/** Makes a server; it does nothing before `start`. Throws `LEASE_SERVER_INVALID`. */
export function createLeaseServer(options: LeaseServerOptions, deps: LeaseServerDeps): LeaseServer {
  return new Server(options, deps);
}

class Server implements LeaseServer {
  readonly serverId: string;
  readonly endpoint: LeaseEndpoint;
  readonly placement: ImmediatePlacement;
  readonly #parts: ServerParts;
  readonly #sessions: SessionRegistry;
  readonly #loop: AssignmentLoop;
  readonly #drains: DrainKeeper;
  readonly #audit: SessionAudit;
  readonly #beat: ServerBeat;
  #state: LeaseServerStatus['state'] = 'new';
  #started: Promise<void> | undefined;
  #drained: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;
  #unlisten: (() => void) | undefined;

  constructor(options: LeaseServerOptions, deps: LeaseServerDeps) {
    checkSources(deps.sources);
    this.serverId = options.serverId ?? randomUUID();
    const limits = { ...defaultLeaseServerLimits, ...options.limits };
    const timing = { ...defaultLeaseServerTiming, ...options.timing };
    const parts = serverParts(this.serverId, limits, timing, deps);
    this.#parts = parts;
    const { clock, random, logger, principal } = parts;
    const { store } = deps;
    this.#audit = new SessionAudit(timing.auditMs, {
      attempts: store.attempts,
      holding: () => this.#sessions.holding(),
      changed: (session) => this.#loop.changed(session),
      clock,
      random,
      logger,
      principal,
    });
    const doubt = this.#audit.doubt.bind(this.#audit);
    this.#drains = new DrainKeeper(timing, { drains: store.drains, clock, random, logger, principal });
    this.#loop = new AssignmentLoop(timing, {
      drains: this.#drains,
      sources: deps.sources,
      doubt,
      clock,
      random,
      logger,
    });
    this.#sessions = new SessionRegistry(parts, {
      changed: (session) => this.#loop.changed(session),
      open: () => this.#state === 'running',
    });
    this.#beat = new ServerBeat(
      { serverId: this.serverId, ...timing },
      {
        sessions: store.sessions,
        principal,
        clock,
        random,
        logger,
        lost: (attempts) => this.#sessions.tellLost(attempts),
        queue: store.queue,
        overdue: (leases) => this.#sessions.tellOverdue(leases),
        outlived: () => this.#sessions.forgetAll('the store was away for longer than its agents may wait'),
      },
    );
    if (deps.meter !== undefined) observeStatus(deps.meter, () => this.status());
    this.endpoint = agentLink(parts, this.#sessions);
    this.placement = createLocalPlacement({ loop: this.#loop, open: () => this.#state === 'running', doubt });
  }

  start(): Promise<void> {
    this.#started ??= this.#start();
    return this.#started;
  }

  drain(): Promise<void> {
    this.#drained ??= this.#drain();
    return this.#drained;
  }

  stop(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.#stopped ??= this.#stop(options.graceMs ?? 5_000);
    return this.#stopped;
  }

  evict(agentId: string, error: DroverError): boolean {
    return this.#sessions.evict(agentId, error);
  }

  holds(agentId: string): boolean {
    return this.#sessions.ofAgent(agentId) !== undefined;
  }

  status(): LeaseServerStatus {
    const storeAnswers = this.#beat.healthy;
    return {
      serverId: this.serverId,
      ready: this.#state === 'running' && storeAnswers,
      state: this.#state,
      storeAnswers,
      ...this.#sessions.counts(),
      hungry: this.#loop.hungryCount,
      pendingWrites: this.#parts.writes.pending,
      pendingLogBytes: this.#sessions.logs.pendingBytes,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #start(): Promise<void> {
    if (this.#state !== 'new') return;
    this.#state = 'running';
    const unreview = this.#parts.policy.onChange(() => this.#sessions.review());
    const unlisten = this.#parts.store.signals.listen((signal) => {
      if (signal.kind === 'fenced') this.#sessions.fence(signal.agentId, signal.epoch);
      // A fence that was missed shows at the session's next write, or in its agent's absence.
      if (signal.kind === 'resync') this.#audit.add([...this.#sessions.holding()]);
      if (signal.kind !== 'cancel') return;
      const session = this.#sessions.ofAgent(signal.agentId);
      if (session !== undefined) this.#audit.add([session]);
    });
    this.#unlisten = () => {
      unreview();
      unlisten();
    };
    this.#loop.start();
    this.#audit.start();
    await this.#beat.start();
  }

  async #drain(): Promise<void> {
    if (this.#state !== 'stopped') this.#state = 'draining';
    await this.#loop.stop();
  }

  async #stop(graceMs: number): Promise<void> {
    const { writes, progress, clock, logger, principal, store } = this.#parts;
    const timeUp = Promise.withResolvers<void>();
    const timer = clock.schedule(graceMs, () => timeUp.resolve());
    await Promise.race([this.drain(), timeUp.promise]);
    this.#loop.abort();
    await Promise.race([writes.idle(), timeUp.promise]);
    this.#state = 'stopped';
    this.#unlisten?.();
    this.#audit.stop();
    this.#drains.stop();
    this.#sessions.stop();
    await Promise.race([Promise.all([writes.stop(), progress.stop(), this.#beat.stop()]), timeUp.promise]);
    const leave = store.sessions.leave(this.serverId, { principal }).catch((error: unknown) => {
      // The others find out when its time-to-live has passed.
      logger.warn({ err: error }, 'could not tell the store that this server leaves');
    });
    await Promise.race([leave, timeUp.promise]);
    timer.cancel();
  }
}

function checkSources(sources: readonly TaskSource[]): void {
  const names = new Set<string>();
  for (const { name } of sources) {
    if (name === '' || names.has(name)) {
      throw new DroverError({
        code: 'LEASE_SERVER_INVALID',
        advice: 'fix-input',
        message: `sources: ${JSON.stringify(name)} is empty or there twice; allowed: each name once.`,
      });
    }
    names.add(name);
  }
}
