import { randomUUID } from 'node:crypto';
import { equals, fromBinary } from '@bufbuild/protobuf';
import { DroverError, silentLogger, systemClock, type Clock, type Logger, type ScheduledCall } from '@drover/lease-kit';
import { createHandlerRegistry, LogUploader, ProgressBoard, removeLeftFolders } from '@drover/lease-handlers';
import {
  AgentDescriptionSchema,
  AgentLeaseSchema,
  type AgentDescription,
  type AgentLease,
} from '@drover/lease-protocol';
import {
  initialAgentState,
  nextAgentDeadlineMs,
  stepAgentBatch,
  type AgentEffect,
  type AgentEvent,
  type AgentState,
  type JournalEntry,
} from '@drover/reconciler-state-machine';
import { createResourceLedger, type ResourceLedger } from '@drover/resource-ledger';
import { AgentJournal } from './agent-journal.ts';
import { AgentStanding, sameReason } from './agent-standing.ts';
import { AgentVoice, type ConditionReason } from './agent-voice.ts';
import { entryBudget } from './attempt-outcome.ts';
import { checkOptions, describeAgent, type CheckedOptions } from './check-options.ts';
import { describeMachine, type MachineSource } from './describe-machine.ts';
import { DurableJournal } from './durable-journal.ts';
import { encodeReports } from './encode-reports.ts';
import { HeldAttempts } from './held-attempts.ts';
import type { JournalRecord } from './journal-record.ts';
import {
  defaultLeaseAgentLimits,
  defaultLeaseAgentTiming,
  type ExitReason,
  type LeaseAgent,
  type LeaseAgentDeps,
  type LeaseAgentEvent,
  type LeaseAgentLimits,
  type LeaseAgentOptions,
  type LeaseAgentStatus,
  type LeaseAgentTiming,
} from './lease-agent-options.ts';
import { SessionCalls } from './session-calls.ts';
import { SessionCaller, type OpenedSession } from './session-caller.ts';
import { takeStateDir, type StateDir } from './state-dir.ts';
import { listDigest } from './wire-copy.ts';

/**
 * Makes an agent; {@link LeaseAgent.start} starts it. Throws `AGENT_OPTIONS_INVALID`, `LEASE_HANDLER_DUPLICATE` and
 * `RESOURCES_INVALID`, and `AGENT_STATE_IN_USE` if the agent id is to come from a state folder that another agent has.
 */
export function createLeaseAgent(options: LeaseAgentOptions, deps: LeaseAgentDeps): LeaseAgent {
  return new MachineAgent(options, deps);
}

type Event = AgentEvent<AgentLease>;
type Effect = AgentEffect<AgentLease>;

/** What exists from the start to the end of an agent. */
interface Parts {
  readonly dir: StateDir;
  readonly journal: DurableJournal;
  readonly held: HeldAttempts;
  readonly caller: SessionCaller;
  readonly voice: AgentVoice;
  readonly uploader: LogUploader;
  readonly progress: ProgressBoard;
  readonly unlisten: () => void;
}

const journalTrouble: ConditionReason = {
  code: 'JOURNAL_FAILED',
  message: 'the journal of the agent cannot be written',
};

/**
 * The engine around the agent's machine: it feeds events in batches and carries effects out in order. A journal write that
 * must reach the disk takes its time beside the effects that follow: what has to wait for it comes from the machine only
 * when it hears that it is done. So a disk that takes nothing silences no heartbeat and delays no stop.
 */
class MachineAgent implements LeaseAgent {
  readonly #options: LeaseAgentOptions;
  readonly #deps: LeaseAgentDeps;
  readonly #checked: CheckedOptions;
  readonly #limits: LeaseAgentLimits;
  readonly #timing: LeaseAgentTiming;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #random: () => number;
  readonly #ledger: ResourceLedger;
  readonly #registry: ReturnType<typeof createHandlerRegistry>;
  readonly #state: AgentState<AgentLease>;
  readonly #events: Event[] = [];
  readonly #done = Promise.withResolvers<ExitReason>();
  readonly #ending = new AbortController();
  #description: AgentDescription;
  readonly #standing = new AgentStanding();
  readonly #calls: SessionCalls;
  #dir: StateDir | undefined;
  #parts: Parts | undefined;
  #starting: Promise<void> | undefined;
  #budget: ReturnType<typeof entryBudget>;
  #stepping = false;
  #flushing = false;
  #timer: { readonly dueMs: number; readonly call: ScheduledCall } | undefined;
  #settleTimer: ScheduledCall | undefined;
  #exit: ExitReason | undefined;
  #condition: LeaseAgentStatus['condition'] = 'ready';
  #isGoingDownBounded = false;
  /** A handler wants this process to end. */
  #handsOver = false;
  readonly #connected = Promise.withResolvers<void>();

  constructor(options: LeaseAgentOptions, deps: LeaseAgentDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#calls = new SessionCalls(deps.client);
    this.#registry = createHandlerRegistry(deps.handlers);
    this.#checked = checkOptions(options, deps.machine?.describe() ?? describeMachine(), this.#registry.payloadTypes);
    this.#description = this.#checked.description;
    this.#limits = { ...defaultLeaseAgentLimits, ...options.limits };
    this.#timing = { ...defaultLeaseAgentTiming, ...options.timing };
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
    this.#random = deps.random ?? Math.random;
    const { leasesMax, resources: total } = this.#checked;
    this.#ledger = deps.ledger ?? createResourceLedger({ total, leasesMax });
    this.#budget = entryBudget(this.#limits, leasesMax);
    const { backoffMinMs, backoffMaxMs } = this.#timing;
    this.#state = initialAgentState({ leasesMax, digest: listDigest, backoffMinMs, backoffMaxMs });
    // A caller that only awaits stop() must not be ended by an unhandled rejection.
    this.#done.promise.catch(() => undefined);
  }

  get done(): Promise<ExitReason> {
    return this.#done.promise;
  }

  get ledger(): ResourceLedger {
    return this.#ledger;
  }

  get agentId(): string {
    return this.#options.agentId ?? this.#takeDir().keptAgentId;
  }

  start(): Promise<void> {
    this.#starting ??= this.#start().catch((error: unknown) => {
      // Whoever was in the way may be gone the next time.
      this.#starting = undefined;
      throw error;
    });
    return this.#starting;
  }

  drain(): Promise<ExitReason> {
    return this.stop({ how: 'drain' });
  }

  async stop({ how }: { readonly how: 'drain' | 'cancel' }): Promise<ExitReason> {
    if (this.#exit) return this.done;
    if (!this.#starting) {
      this.#dir?.release();
      this.#starting = Promise.reject(
        new DroverError({ code: 'AGENT_ENDED', advice: 'conflict', message: 'it has ended' }),
      );
      this.#starting.catch(() => undefined);
      this.#exited('drained');
      return this.done;
    }
    await this.#starting;
    if (this.#exit || !this.#parts) return this.done;
    this.#post({ type: 'stop-wished', how });
    this.#tellSoon();
    if (how === 'cancel') void this.#settleWithin(this.#parts.held.idle());
    return this.done;
  }

  setBusy(busy: boolean, reason?: ConditionReason): void {
    if (!this.#exit) this.#busyChanged(this.#standing.setBusyHere(busy, reason));
  }

  #busyChanged(isReasonNew: boolean): void {
    // Before the start there is nobody to tell.
    if (!this.#parts) return;
    const { busy } = this.#standing;
    if (this.#state.busy !== busy) this.#post({ type: 'busy', busy });
    else if (!isReasonNew) return;
    this.#tellSoon();
  }

  setUnhealthy(problem: ConditionReason | undefined): void {
    if (this.#exit || sameReason(this.#standing.problem, problem)) return;
    this.#standing.problem = problem;
    this.#tellSoon();
  }

  attemptFolders(): ReadonlySet<string> | undefined {
    return this.#parts?.held.folderNames();
  }

  status(): LeaseAgentStatus {
    const { sessionId, epoch, phase, holdings } = this.#state;
    return {
      agentId: this.agentId,
      ...this.#told(),
      ...(phase === 'session' ? { session: { sessionId, epoch, linked: this.#parts?.caller.linked ?? false } } : {}),
      attempts: [...holdings].map(([name, holding]) => {
        const leaseType = this.#parts?.held.leaseTypeOf(name);
        const { leaseId, attempt } = holding;
        return { leaseId, attempt, phase: holding.phase, ...(leaseType === undefined ? {} : { leaseType }) };
      }),
      resources: { total: this.#ledger.total, free: this.#ledger.free() },
      ...(this.#exit ? { exit: this.#exit } : {}),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop({ how: 'cancel' });
  }

  #tellSoon(): void {
    this.#parts?.voice.repeatSoon();
    this.#tellCondition();
  }

  /** For who uses the machine beside the leases. */
  #tellCondition(): void {
    const { condition } = this.#told();
    if (condition === this.#condition) return;
    this.#condition = condition;
    this.#deps.onEvent?.({ type: 'condition-changed', condition });
  }

  #told(): ReturnType<AgentStanding['tell']> {
    const { stopping, busy } = this.#state;
    return this.#standing.tell(stopping !== 'no', this.#unhealthy(), busy);
  }

  #unhealthy(): ConditionReason | undefined {
    return this.#parts?.journal.inTrouble ? journalTrouble : this.#standing.problem;
  }

  /** Looks at the machine anew. A description that no server would take leaves the one before. */
  #machineChanged(machine: MachineSource): void {
    const { leasesMax } = this.#checked;
    try {
      const next = describeAgent(this.#options, machine.describe(), this.#registry.payloadTypes, leasesMax);
      if (equals(AgentDescriptionSchema, next.description, this.#description)) return;
      if (!this.#deps.ledger) this.#ledger.resize(next.resources);
      this.#description = next.description;
    } catch (error) {
      this.#logger.error({ err: error }, 'what the machine has become cannot be told');
      return;
    }
    this.#deps.onEvent?.({ type: 'description-changed' });
    this.#tellSoon();
  }

  #takeDir(): StateDir {
    this.#dir ??= takeStateDir(this.#options.stateDir);
    return this.#dir;
  }

  async #start(): Promise<void> {
    const dir = this.#takeDir();
    try {
      const { journal, droppedBytes } = AgentJournal.open(dir.journalPath);
      if (droppedBytes > 0) this.#logger.warn({ droppedBytes }, 'the journal had a torn tail');
      const { proven } = journal;
      const removed = await removeLeftFolders(
        dir.attemptsPath,
        proven.map(({ key }) => key),
      );
      if (removed > 0) this.#logger.info({ removed }, 'removed folders of attempts that an earlier process left');
      this.#parts = this.#assemble(dir, journal);
      if (this.#deps.machine) this.#machineChanged(this.#deps.machine);
      for (const one of proven) this.#parts.held.restore(one);
      this.#post({
        type: 'restored',
        attempts: proven.map(({ key, cutOff, finished, report }) => ({
          ...key,
          cutOff,
          state: finished ? 'finished' : 'accepted',
          ...(finished && report ? { report: fromBinary(AgentLeaseSchema, report) } : {}),
        })),
        nowMs: this.#clock.monotonicMs(),
      });
      if (proven.length > 0) this.#taken();
      if (this.#standing.busy) this.#post({ type: 'busy', busy: true });
    } catch (error) {
      dir.release();
      this.#dir = undefined;
      throw error;
    }
  }

  #assemble(dir: StateDir, journalFile: AgentJournal): Parts {
    const clock = this.#clock;
    const agentId = this.agentId;
    const logger = this.#logger.child({ agentId });
    const post = (event: Event) => this.#post(event);
    const emit = (event: LeaseAgentEvent) => this.#deps.onEvent?.(event);
    const journal = new DurableJournal(journalFile, {
      clock,
      logger,
      onTrouble: (error) => {
        if (!error) emit({ type: 'journal-recovered' });
        else
          emit({ type: 'journal-failed', code: (error as NodeJS.ErrnoException).code ?? '', message: error.message });
        this.#tellSoon();
      },
    });
    const uploader = new LogUploader(
      { append: (piece, signal) => this.#calls.appendLog(piece, signal), clock, logger },
      { stallMs: this.#timing.logStallMs },
    );
    const progress = new ProgressBoard(clock, () => this.#parts?.voice.repeat(), this.#timing.progressMs);
    // The budget follows what the server of the present session allows.
    const budget = (): ReturnType<typeof entryBudget> => this.#budget;
    const held = new HeldAttempts({
      agentId,
      attemptsPath: dir.attemptsPath,
      registry: this.#registry,
      ledger: this.#ledger,
      uploader,
      progress,
      blobs: this.#deps.blobs,
      clock,
      logger,
      payloadSizeBytesMax: this.#limits.payloadSizeBytesMax,
      get budget() {
        return budget();
      },
      timing: this.#timing,
      signal: this.#ending.signal,
      unhealthy: () => this.#unhealthy(),
      post,
      emit,
      bootId: this.#description.bootId,
      handOver: () => this.#handOver(),
      connected: () => this.#connected.promise,
      fetchSecrets: (key, signal) => this.#calls.fetchSecrets(key, signal),
      keepEnd: async (key, report) => journal.append([{ kind: 'ended', key, report }], true),
    });
    const caller = new SessionCaller({
      client: this.#deps.client,
      clock,
      logger,
      agentId,
      instanceNonce: randomUUID(),
      description: () => this.#description,
      post,
      emit,
      onUpcoming: (entries) => held.foresee(entries),
      onEntries: (entries) => held.learn(entries),
      onWishedBusy: (wished) => this.#busyChanged(this.#standing.setBusyWished(wished)),
      onSession: (session) => this.#sessionChanged(session),
    });
    const voice = new AgentVoice({
      clock,
      ledger: this.#ledger,
      progress,
      caller,
      condition: () => {
        const { condition, conditionReason: reason } = this.#told();
        return { condition, reason };
      },
      description: () => this.#description,
      newsMs: this.#timing.progressMs,
    });
    const unheard = this.#ledger.onChange(() => voice.ledgerChanged());
    const { machine } = this.#deps;
    const unwatched = machine?.onChange(() => this.#machineChanged(machine));
    const unlisten = (): void => {
      unheard();
      unwatched?.();
    };
    return { dir, journal, held, caller, voice, uploader, progress, unlisten };
  }

  #sessionChanged(session: OpenedSession | undefined): void {
    this.#calls.sessionChanged(session);
    if (!session) return this.#parts!.uploader.offline();
    this.#connected.resolve();
    const allowed = session.messageSizeMaxBytes || this.#limits.messageSizeMaxBytes;
    const messageSizeMaxBytes = Math.min(allowed, this.#limits.messageSizeMaxBytes);
    this.#budget = entryBudget({ ...this.#limits, messageSizeMaxBytes }, this.#checked.leasesMax);
    this.#parts!.uploader.online();
  }

  /** Takes an event; those of one turn of the event loop are handed to the machine together. */
  #post(event: Event): void {
    if (this.#exit) return;
    this.#events.push(event);
    if (this.#stepping || this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#run();
    });
  }

  #run(): void {
    if (this.#stepping || this.#exit) return;
    this.#stepping = true;
    try {
      while (this.#events.length > 0) {
        for (const effect of stepAgentBatch(this.#state, this.#events.splice(0)).effects) {
          this.#carryOut(effect);
          if (this.#exit) return;
        }
      }
      this.#parts!.held.keepOnly(this.#state.holdings);
      this.#boundGoingDown();
      this.#parts!.voice.flush();
      this.#tellCondition();
      this.#armTimer();
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#stepping = false;
    }
  }

  #carryOut(effect: Effect): void {
    const { held, caller, voice } = this.#parts!;
    switch (effect.type) {
      case 'open-session':
        voice.forget();
        return void caller.openSession(effect.proven, effect.goingDown);
      case 'open-link':
        voice.forget();
        return caller.openLink();
      case 'close-link':
        voice.flush();
        return caller.closeLink();
      case 'consider':
        return held.consider(effect.key, effect.mustRefuse);
      case 'journal':
        return this.#journal(effect.writeId, effect.entries);
      case 'start':
        this.#taken();
        return held.start(effect.key);
      case 'resume':
        return void held.resume(effect.key).catch((error: unknown) => this.#fail(error));
      case 'stop':
        return held.stop(effect.key, effect.cause);
      case 'send':
        // A later copy of the same turn replaces it.
        return voice.put(effect.copy);
      case 'told-going-down':
        return held.toldGoingDown(effect.key);
      case 'forget':
        return held.forget(effect.key);
      case 'exit':
        return void this.#finish(effect.reason === 'going-down' && this.#handsOver ? 'handing-over' : effect.reason);
    }
  }

  /** An attempt was accepted: an ephemeral agent takes no other and leaves when it is settled. */
  #taken(): void {
    if (this.#options.ephemeral !== true || this.#state.stopping !== 'no') return;
    this.#post({ type: 'stop-wished', how: 'drain' });
    this.#tellSoon();
  }

  #journal(writeId: number, entries: readonly JournalEntry<AgentLease>[]): void {
    let durable = false;
    const reports = encodeReports(entries.flatMap((entry) => (entry.kind === 'finished' ? [entry.report] : [])));
    let reported = 0;
    const records = entries.map((entry): JournalRecord => {
      if (entry.kind === 'accepted') {
        const work = this.#parts!.held.journalledWork(entry.key);
        durable ||= work.work !== undefined;
        return { kind: 'accepted', key: entry.key, ...work };
      }
      if (entry.kind === 'dropped') return entry;
      durable = true;
      return { kind: 'finished', key: entry.key, report: reports[reported++]! };
    });
    const written = this.#parts!.journal.append(records, durable);
    if (!written) return this.#post({ type: 'journalled', writeId });
    written.then(
      () => this.#post({ type: 'journalled', writeId }),
      // Rejects only when the agent ends with the write undone.
      () => undefined,
    );
  }

  #armTimer(): void {
    const deadlineMs = nextAgentDeadlineMs(this.#state);
    if (deadlineMs === undefined) return;
    const { phase, link, retryAtMs, backoffMs } = this.#state;
    const retries = (phase === 'away' || link === 'away') && deadlineMs === retryAtMs;
    if (this.#timer) {
      // One that is due earlier does no harm: it finds nothing to do and another is armed.
      if (this.#timer.dueMs <= deadlineMs) return;
      this.#timer.call.cancel();
    }
    // Jitter, or a fleet that lost its server comes back as one.
    const jitterMs = retries ? this.#random() * (backoffMs / 2) : 0;
    const dueMs = deadlineMs + jitterMs;
    const delayMs = Math.min(Math.max(0, dueMs - this.#clock.monotonicMs()), 2 ** 31 - 1);
    const call = this.#clock.schedule(delayMs, () => {
      this.#timer = undefined;
      this.#post({ type: 'tick', nowMs: this.#clock.monotonicMs() });
    });
    this.#timer = { dueMs, call };
  }

  #handOver(): void {
    this.#handsOver = true;
    this.#post({ type: 'stop-wished', how: 'drain' });
    this.#tellSoon();
  }

  /** The network may be gone before the machine is: ends of other attempts, which are on disk, are then told by the next process. */
  #boundGoingDown(): void {
    const { held } = this.#parts!;
    if (this.#isGoingDownBounded || this.#state.stopping === 'no' || !held.goesDown) return;
    this.#isGoingDownBounded = true;
    void this.#settleWithin(held.idleButGoingDown());
  }

  /** Ends the agent some time after its handlers have returned, whatever the server has heard. */
  async #settleWithin(idle: Promise<void>): Promise<void> {
    await idle;
    if (this.#exit || this.#settleTimer) return;
    this.#settleTimer = this.#clock.schedule(this.#timing.settleMs, () => {
      const reason = this.#handsOver ? 'handing-over' : 'going-down';
      void this.#finish(this.#parts!.held.goesDown ? reason : 'unsettled');
    });
  }

  async #finish(reason: ExitReason): Promise<void> {
    if (this.#exit) return;
    this.#exited(reason);
    await this.#close();
    this.#done.resolve(reason);
  }

  #fail(error: unknown): void {
    if (this.#exit) return;
    this.#logger.error({ err: error }, 'the agent ends because of a defect');
    this.#exit = 'unsettled';
    void this.#close().finally(() => this.#done.reject(error));
  }

  #exited(reason: ExitReason): void {
    this.#exit = reason;
    this.#deps.onEvent?.({ type: 'exit', reason });
    if (!this.#parts) this.#done.resolve(reason);
  }

  /** Lets go of everything. Handlers that still run, which only a defect or an impatient stop leaves, are told to stop. */
  async #close(): Promise<void> {
    this.#ending.abort();
    for (const timer of [this.#timer?.call, this.#settleTimer]) timer?.cancel();
    const parts = this.#parts!;
    parts.voice.close();
    parts.unlisten();
    parts.progress.close();
    if (this.#exit === 'going-down' || this.#exit === 'handing-over') parts.held.leave();
    parts.held.stopAll({ code: 'shutting-down', message: 'the agent ends' });
    await parts.held.idle();
    await parts.caller.close();
    await parts.uploader.close();
    await parts.journal.close();
    parts.dir.release();
  }
}
