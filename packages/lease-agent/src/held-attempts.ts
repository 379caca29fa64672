import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { delay, isRetryable, messageOf, type Clock, type Logger, type StopReason } from '@drover/lease-kit';
import {
  AttemptFolder,
  folderNameOf,
  reportFromStop,
  RunningAttempt,
  type AttemptLogs,
  type AttemptReport,
  type HandlerRegistry,
  type LogUploader,
  type ProgressBoard,
} from '@drover/lease-handlers';
import { AgentLeaseSchema, ServerLeaseSchema, type AgentLease, type ServerLease } from '@drover/lease-protocol';
import { SecretMask } from '@drover/lease-secrets';
import {
  keyString,
  type AgentEvent,
  type AttemptKey,
  type RefusalCause,
  type StopCause,
} from '@drover/reconciler-state-machine';
import type { ResourceLedger, ResourceOwner } from '@drover/resource-ledger';
import type { ProvenAttempt } from './agent-journal.ts';
import { outcomeEntry, refusedEntry, smallOutcomeEntry, type OutcomeDeps } from './attempt-outcome.ts';
import { heldAttempt, type HeldAttempt } from './held-attempt.ts';
import type { AgentBlobs, LeaseAgentEvent } from './lease-agent-options.ts';
import { readWork, resourcesOf, type ReadableWork, type Unreadable } from './read-work.ts';

/** What the attempts of an agent work with. */
export interface HeldAttemptsDeps extends OutcomeDeps {
  readonly agentId: string;
  readonly attemptsPath: string;
  readonly registry: HandlerRegistry;
  readonly ledger: ResourceLedger;
  readonly uploader: LogUploader;
  readonly progress: ProgressBoard;
  readonly blobs: AgentBlobs | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly payloadSizeBytesMax: number;
  /** Why the machine is not fit for work; undefined: it is. */
  readonly unhealthy: () => { readonly message: string } | undefined;
  /** Hands an event to the machine. */
  readonly post: (event: AgentEvent<AgentLease>) => void;
  /** Asks the server for the secrets of a lease. Throws what it says; SESSION_NONE while there is no session. */
  readonly fetchSecrets: (key: AttemptKey, signal: AbortSignal) => Promise<ReadonlyMap<string, Uint8Array>>;
  /** Keeps an end on disk whose logs are still on their way. */
  readonly keepEnd: (key: AttemptKey, report: Uint8Array) => Promise<void>;
  readonly emit: (event: LeaseAgentEvent) => void;
  readonly bootId: string;
  /** A handler that has said that it goes down wants this process to end. */
  readonly handOver: () => void;
  /** Resolves when the agent has a session. */
  readonly connected: () => Promise<void>;
}

/** Most attempts that are read before they are offered; the bound stands in the proto. */
const foreseenMax = 16;
/** Between two calls for secrets that no server answers. */
const secretsRetryMs = 500;

/** Why the server cancels a lease whose own time is over. */
const leaseTimedOut = 'LEASE_TIMED_OUT';

const stopMessages: Readonly<Record<StopCause, string>> = {
  cancelled: 'the lease is no longer wanted',
  orphaned: 'the server does not know the attempt',
  'cut-off': 'the server is out of reach',
  busy: 'the machine is needed for something else',
  'shutting-down': 'the agent shuts down',
};

const refusals: Readonly<Record<RefusalCause, Unreadable>> = {
  stopping: { code: 'AGENT_STOPPING', message: 'the agent takes no new work before it ends' },
  busy: { code: 'AGENT_BUSY', message: 'the machine is needed for something else' },
  cancelled: { code: 'LEASE_CANCELLED', message: 'the lease was cancelled before the agent took it' },
};

/** The attempts of an agent: what the machine does not care about. Each method carries out one effect. */
export class HeldAttempts {
  readonly #held = new Map<string, HeldAttempt>();
  readonly #deps: HeldAttemptsDeps;
  readonly #foreseen = new Map<string, { readonly entry: ServerLease; readonly work: ReturnType<typeof readWork> }>();
  /** Settled ones whose folder is still there: a handler that was abandoned may use it. */
  readonly #leaving = new Set<HeldAttempt>();
  #running = 0;
  #waiters: { readonly isOver: () => boolean; readonly resolve: () => void }[] = [];

  constructor(deps: HeldAttemptsDeps) {
    this.#deps = deps;
  }

  /**
   * Reads the work of attempts that may be offered soon, so that it is at hand when they are: on the same link, their offers
   * need not bring it again. Keeps those of the newest call alone; what cannot be read is read again when it is offered.
   */
  foresee(entries: readonly ServerLease[]): void {
    this.#foreseen.clear();
    for (const entry of entries.slice(0, foreseenMax)) {
      const name = keyString(entry);
      if (entry.work.case && !this.#held.has(name)) this.#foreseen.set(name, { entry, work: this.#readWork(entry) });
    }
  }

  /** Remembers what the server says of attempts that are new here. */
  learn(entries: readonly ServerLease[]): void {
    for (const entry of entries) {
      const name = keyString(entry);
      const known = this.#held.get(name);
      if (known) {
        known.cancelMessage = entry.cancelReason?.message ?? known.cancelMessage;
        known.cancelCode = entry.cancelReason?.code ?? known.cancelCode;
      } else {
        const withWork = entry.work.case ? entry : this.#foreseen.get(name)?.entry;
        if (withWork) this.#held.set(name, heldAttempt(entry, withWork, undefined));
      }
    }
  }

  /** Forgets what was learned of attempts that the machine has not taken up. */
  keepOnly(taken: ReadonlyMap<string, unknown>): void {
    if (this.#held.size === taken.size) return;
    for (const [name, one] of this.#held) if (!taken.has(name) && !one.busy) this.#held.delete(name);
  }

  /** Takes up what the journal proves, and counts what it uses. */
  restore(proven: ProvenAttempt): void {
    const entry = proven.work ? fromBinary(ServerLeaseSchema, proven.work) : undefined;
    const one = heldAttempt(proven.key, entry, proven);
    this.#held.set(one.name, one);
    one.folder = new AttemptFolder(this.#deps.attemptsPath, one.key, true);
    if (proven.finished || !entry) return;
    this.#deps.ledger.adopt(one.owner, { resources: resourcesOf(entry), exclusive: entry.exclusive });
    one.reserved = true;
  }

  /** Decides whether this machine takes the attempt. */
  consider(key: AttemptKey, mustRefuse: RefusalCause | undefined): void {
    const one = this.#held.get(keyString(key));
    if (mustRefuse) return this.#refuse(key, one, refusals[mustRefuse]);
    const problem = this.#deps.unhealthy();
    if (problem) {
      return this.#refuse(key, one, { code: 'AGENT_UNHEALTHY', message: `the machine is not fit: ${problem.message}` });
    }
    if (!one?.entry)
      return this.#refuse(key, one, { code: 'WORK_MISSING', message: 'the attempt came without its work' });
    const work = this.#read(one.entry);
    if (work instanceof Promise) void work.then((read) => this.#considered(one, read));
    else this.#considered(one, work);
  }

  /** What is journalled with the acceptance: the work, if the attempt could be resumed. */
  journalledWork(key: AttemptKey): { readonly cutOff: 'stop' | 'go-on'; readonly work?: Uint8Array } {
    const one = this.#held.get(keyString(key));
    const handler = one?.work?.handler;
    const cutOff = handler?.type.cutOff ?? 'stop';
    return handler?.resume && one?.entry ? { cutOff, work: toBinary(ServerLeaseSchema, one.entry) } : { cutOff };
  }

  /** Starts the handler. */
  start(key: AttemptKey): void {
    const one = this.#held.get(keyString(key));
    if (!one?.work) throw new Error(`attempt ${keyString(key)} has not been considered`);
    this.#run(one, one.work, 'run');
  }

  /** Takes up an attempt of an earlier process: its handler's `resume`, or the end that it had, or `lost`. */
  async resume(key: AttemptKey): Promise<void> {
    const one = this.#held.get(keyString(key))!;
    const { uploader } = this.#deps;
    one.folder ??= new AttemptFolder(this.#deps.attemptsPath, key, true);
    one.logs = uploader.open(key, one.folder);
    if (one.folder.mayHoldSecrets) this.#withhold(one, one.logs);
    try {
      await uploader.adopt(one.logs, one.folder);
    } catch (error) {
      this.#deps.logger.warn({ ...key, err: error }, 'logs that an earlier process left cannot be read');
    }
    const report = one.proven?.report;
    if (report) return this.#tell(one, fromBinary(AgentLeaseSchema, report), true);
    const why = await this.#resumable(one);
    if (why) return this.#ended(one, { outcome: 'lost', reason: why });
    this.#run(one, one.work!, 'resume');
  }

  /** Tells the handler to stop. */
  stop(key: AttemptKey, cause: StopCause): void {
    const one = this.#held.get(keyString(key));
    if (!one) return;
    const message = (cause === 'cancelled' && one.cancelMessage) || stopMessages[cause];
    // The whole lease's time is over: nobody has cancelled it.
    const isTimeOut = cause === 'cancelled' && one.cancelCode === leaseTimedOut;
    const reason: StopReason = isTimeOut
      ? { code: 'timed-out', reasonCode: leaseTimedOut, message }
      : { code: cause, message };
    if (cause === 'orphaned') void one.logs?.abandon();
    if (one.running) one.running.stop(reason);
    else one.stop ??= reason;
  }

  /** The attempt is settled: nothing of it is kept, except what an abandoned handler still uses. */
  forget(key: AttemptKey): void {
    const one = this.#held.get(keyString(key));
    if (!one) return;
    one.forgotten = true;
    this.#held.delete(one.name);
    this.#deps.progress.drop(key);
    this.#leaving.add(one);
    if (!one.busy) return this.#cleanUp(one);
    const abandoned: ResourceOwner = { kind: 'abandoned-attempt', id: one.name };
    this.#deps.ledger.transfer(one.owner, abandoned);
  }

  /** Names of the folders that somebody may use. */
  folderNames(): ReadonlySet<string> {
    return new Set([...this.#held.values(), ...this.#leaving].map(({ key }) => folderNameOf(key)));
  }

  /** The lease type of an attempt, once it is known. */
  leaseTypeOf(name: string): string | undefined {
    return this.#held.get(name)?.work?.handler.type.name;
  }

  /** An attempt runs that takes the agent down. */
  get goesDown(): boolean {
    return this.#goingDown().length > 0;
  }

  /** The server has persisted that the agent goes down because of the attempt. */
  toldGoingDown(key: AttemptKey): void {
    this.#held.get(keyString(key))?.running?.toldGoingDown();
  }

  /** Leaves what goes down with this process to the next one: nothing that its handlers still do is told or waited for. */
  leave(): void {
    for (const one of this.#held.values()) {
      if (!one.goingDown || !one.running?.leave('the agent goes down, as the attempt has said')) continue;
      void one.logs?.abandon();
      one.hasEnded = true;
      this.#count(-1);
    }
  }

  /** Stops every handler, whatever the machine thinks. */
  stopAll(reason: StopReason): void {
    for (const one of this.#held.values()) {
      void one.logs?.abandon();
      one.running?.stop(reason);
    }
  }

  /** Resolves when no handler runs, an abandoned one not counted. */
  idle(): Promise<void> {
    return this.#when(() => this.#running === 0);
  }

  /** Resolves when none runs but those that take the agent down. */
  idleButGoingDown(): Promise<void> {
    return this.#when(() => this.#running <= this.#goingDown().length);
  }

  async #when(isOver: () => boolean): Promise<void> {
    if (!isOver()) await new Promise<void>((resolve) => this.#waiters.push({ isOver, resolve }));
  }

  #goingDown(): HeldAttempt[] {
    return [...this.#held.values()].filter((one) => one.goingDown && one.running !== undefined && !one.hasEnded);
  }

  #read(entry: ServerLease): ReturnType<typeof readWork> {
    const name = keyString(entry);
    const foreseen = this.#foreseen.get(name)?.work;
    if (foreseen === undefined) return this.#readWork(entry);
    this.#foreseen.delete(name);
    if (foreseen instanceof Promise) return foreseen.then((work) => ('code' in work ? this.#readWork(entry) : work));
    return 'code' in foreseen ? this.#readWork(entry) : foreseen;
  }

  #readWork(entry: ServerLease): ReturnType<typeof readWork> {
    const { registry, blobs, clock, payloadSizeBytesMax, signal } = this.#deps;
    return readWork(entry, { registry, blobs, clock, payloadSizeBytesMax, signal });
  }

  #considered(one: HeldAttempt, work: ReadableWork | Unreadable): void {
    if (one.forgotten || this.#deps.signal.aborted) return;
    if ('code' in work) return this.#refuse(one.key, one, work);
    let why: Unreadable | undefined;
    try {
      why = work.handler.refusal?.(work.payload);
    } catch (error) {
      why = { code: 'HANDLER_FAILED', message: `the handler could not look at the payload: ${messageOf(error)}` };
    }
    why ??= this.#deps.ledger.reserve(one.owner, { resources: work.resources, exclusive: work.exclusive });
    if (why) return this.#refuse(one.key, one, why);
    one.work = work;
    one.reserved = true;
    this.#deps.post({ type: 'considered', key: one.key, cutOff: work.handler.type.cutOff });
  }

  /** The secrets of an attempt's lease, asked for once. They are blotted out from then on. */
  async #secretsOf(one: HeldAttempt): Promise<ReadonlyMap<string, Uint8Array>> {
    one.secrets ??= this.#fetchSecrets(one).catch((error: unknown) => {
      one.secrets = undefined;
      throw error;
    });
    return one.secrets;
  }

  async #fetchSecrets(one: HeldAttempt): Promise<ReadonlyMap<string, Uint8Array>> {
    const { clock, signal } = this.#deps;
    for (;;) {
      try {
        const found = await this.#deps.fetchSecrets(one.key, signal);
        one.mask = new SecretMask(found.values());
        // Marked before the handler has them: whatever ends this process, the next one knows.
        if (found.size > 0) one.folder?.markSecret();
        one.logs?.mask(one.mask);
        return found;
      } catch (error) {
        if (signal.aborted || one.forgotten || !isRetryable(error)) throw error;
      }
      await delay(clock, secretsRetryMs, signal);
    }
  }

  /** Shows nothing of what an earlier process left before it is known what must not show. */
  #withhold(one: HeldAttempt, logs: AttemptLogs): void {
    logs.withhold();
    this.#secretsOf(one).catch((error: unknown) => {
      this.#deps.logger.warn({ ...one.key, err: error }, 'logs that may hold secrets are not carried to the server');
      void logs.abandon();
    });
  }

  #refuse(key: AttemptKey, one: HeldAttempt | undefined, why: Unreadable): void {
    if (one) this.#release(one);
    this.#deps.emit({ type: 'attempt-refused', ...key, code: why.code });
    const refusal = refusedEntry(key, why.code, why.message, this.#deps.budget.reasonBytes);
    this.#deps.post({ type: 'considered', key, refusal });
  }

  async #resumable(one: HeldAttempt): Promise<Unreadable | undefined> {
    const interrupted = { code: 'ATTEMPT_INTERRUPTED', message: 'the agent was restarted while the attempt ran' };
    if (!one.entry) return interrupted;
    const work = await this.#read(one.entry);
    if ('code' in work) return { code: work.code, message: `it cannot be resumed: ${work.message}` };
    one.work = work;
    return work.handler.resume ? undefined : interrupted;
  }

  #run(one: HeldAttempt, work: ReadableWork, how: 'run' | 'resume'): void {
    const { clock, logger, progress, uploader } = this.#deps;
    const { key } = one;
    one.folder ??= new AttemptFolder(this.#deps.attemptsPath, key, false);
    one.logs ??= uploader.open(key, one.folder);
    const running = new RunningAttempt(
      {
        leaseId: key.leaseId,
        attempt: key.attempt,
        agentId: this.#deps.agentId,
        handler: work.handler,
        payload: work.payload,
        resources: work.resources,
        runLimitMs: work.runLimitMs,
        progressMsMax: work.progressMsMax,
        bootId: this.#deps.bootId,
        cancelGraceMs: work.cancelGraceMs,
      },
      {
        clock,
        logger,
        folder: one.folder,
        logs: one.logs,
        onProgress: (percent, message) => progress.report(key, percent, one.mask?.blotText(message) ?? message),
        secrets: () => this.#secretsOf(one),
        onGoingDown: () => {
          one.goingDown = true;
          this.#deps.post({ type: 'going-down', key });
        },
        onHandOver: this.#deps.handOver,
        connected: this.#deps.connected,
        onEnded: (report) => {
          one.hasEnded = true;
          this.#count(-1);
          this.#ended(one, report);
        },
        onReturned: () => this.#returned(one),
      },
    );
    one.running = running;
    one.busy = true;
    this.#count(1);
    this.#deps.emit({ type: 'attempt-started', ...key, leaseType: work.handler.type.name, resumed: how === 'resume' });
    running.start(how);
    if (one.stop) running.stop(one.stop);
  }

  #ended(one: HeldAttempt, report: AttemptReport): void {
    const { key } = one;
    // An attempt that was stopped before it could be resumed has nothing better to say than that.
    const said = report.outcome === 'lost' && !one.running && one.stop ? reportFromStop(one.stop) : report;
    const { reason } = said;
    const told =
      one.mask && reason ? { ...said, reason: { ...reason, message: one.mask.blotText(reason.message) } } : said;
    const code = told.reason?.code;
    this.#deps.emit({ type: 'attempt-ended', ...key, outcome: told.outcome, ...(code === undefined ? {} : { code }) });
    const entry = smallOutcomeEntry(key, told, this.#deps);
    if (entry) return this.#tell(one, entry, false);
    void outcomeEntry(key, told, this.#deps).then((large) => this.#tell(one, large, false));
  }

  /** The machine hears of an end when the server has the logs: afterwards it would not take them. */
  #tell(one: HeldAttempt, report: AgentLease, kept: boolean): void {
    const { key, logs } = one;
    const tell = () => this.#deps.post({ type: 'handler-ended', key, report });
    if (!logs?.used) return tell();
    const keep = kept || logs.settled ? undefined : this.#deps.keepEnd(key, toBinary(AgentLeaseSchema, report));
    void Promise.all([keep, logs.complete()]).then(tell, (error: unknown) => {
      // Only the end of the agent breaks this off; the journal has what there is.
      this.#deps.logger.warn({ ...key, err: error }, 'the end of an attempt is not told by this process');
    });
  }

  #returned(one: HeldAttempt): void {
    one.busy = false;
    this.#release(one);
    if (one.forgotten) this.#cleanUp(one);
  }

  #release(one: HeldAttempt): void {
    if (!one.reserved) return;
    one.reserved = false;
    if (!this.#deps.ledger.release(one.owner)) this.#deps.ledger.release({ kind: 'abandoned-attempt', id: one.name });
  }

  #cleanUp(one: HeldAttempt): void {
    this.#release(one);
    void (async () => {
      await one.logs?.abandon();
      await one.logs?.complete();
      await one.folder?.remove();
      this.#leaving.delete(one);
    })().catch((error: unknown) => {
      this.#leaving.delete(one);
      this.#deps.logger.warn(
        { ...one.key, err: error },
        'the folder of an attempt is not removed; the next start does',
      );
    });
  }

  #count(by: 1 | -1): void {
    this.#running += by;
    if (by > 0) return;
    for (const waiter of this.#waiters.splice(0)) {
      if (waiter.isOver()) waiter.resolve();
      else this.#waiters.push(waiter);
    }
  }
}
