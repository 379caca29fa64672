import {
  payloadTypeOf,
  silentLogger,
  systemClock,
  type AgentView,
  type AskContext,
  type AttemptEnd,
  type Clock,
  type LeaseDraft,
  type Logger,
  type Principal,
  type ScheduledCall,
  type TaskAnswer,
  type TaskSource,
} from '@drover/lease-kit';
import type {
  AgentTaskBinding,
  AgentTaskRetry,
  AgentTaskStore,
  BoundAgentTask,
  OpenAgentTask,
  SettledAgentTask,
  StoreContext,
  StoreSignals,
} from '@drover/lease-store';
import { randomUUID } from 'node:crypto';
import { OpenTasks, type KnownTask } from './internal/open-tasks.ts';

/** The part of a lease that a plan decides; the source adds the rest. */
export type AgentTaskLease = Omit<LeaseDraft, 'leaseId' | 'source' | 'requirements' | 'priority' | 'retry'>;

/** What to do with a task of an agent that could take it now. */
export type AgentTaskPlan =
  /** Do it: at once if it is forced or the agent is idle, else the agent is drained for it. */
  | { readonly kind: 'lease'; readonly lease: AgentTaskLease }
  /** Not yet. It is planned again when something happens to the agent, and with every poll. */
  | { readonly kind: 'wait' }
  /** It can never be done, or nobody needs it any more. `code` is upper snake case. */
  | { readonly kind: 'drop'; readonly code: string; readonly message: string };

/** What a source of agent tasks is and how often it looks. */
export interface AgentTaskSourceOptions {
  /** The `source` of the tasks and of their leases, e.g. `restart`. */
  readonly name: string;
  /** See `TaskSource`. Default false. */
  readonly assignsWhenDisabled?: boolean;
  /** See `TaskSource`. Default false. */
  readonly assignsInDowntime?: boolean;
  /** What follows a lease that did not do its task. */
  readonly retry: AgentTaskRetry;
  /** Most agents that are drained for or at work at once, of all servers. Default: no cap. */
  readonly atOnceMax?: number;
  /** What people read of an agent that is drained, e.g. `it is to be restarted`. */
  readonly drainReason: string;
  /** How long an agent that is drained keeps its place without being asked about. Default 2 min. */
  readonly drainTtlMs?: number;
  /** How often it looks for tasks that no signal spoke of, and for ends that were not settled, ±25 %. Default 5 s. */
  readonly pollMs?: number;
  /** On whose behalf it reads and binds. Default: the service `task-source:<name>`. */
  readonly principal?: Principal;
}

/** What a source of agent tasks works with. */
export interface AgentTaskSourceDeps {
  readonly agentTasks: Pick<AgentTaskStore, 'open' | 'bind' | 'drop' | 'settle'>;
  /** Absent: the poll alone wakes it. */
  readonly signals?: StoreSignals;
  /** Decides about one task and one agent; must be quick. One that throws leaves the task waiting. */
  readonly plan: (task: OpenAgentTask, agent: AgentView) => AgentTaskPlan | Promise<AgentTaskPlan>;
  /** Told of each task whose lease has ended, on the server that settled it. */
  readonly settled?: (task: SettledAgentTask) => void;
  /** Default: that of the process. */
  readonly clock?: Clock;
  /** From 0 to below 1; spreads the polls of several servers. Default `Math.random`. */
  readonly random?: () => number;
  readonly logger?: Logger;
}

/** Entries of one call to the store. */
const bindingsMax = 256;
/** Calls of `settle` in a row, each of up to 1,000 tasks. */
const settleRoundsMax = 10;

/**
 * The stock source of what is wanted of single agents. Asked about an agent of which something is wanted, it answers with an
 * exclusive lease once the agent is idle and with `drain` until then; with a lease at once if the task is forced. Agents are
 * drained only as far as the caps allow, so that a pool is not emptied while it waits for its turn.
 *
 * It remembers which tasks are open, as a queue source does with classes: an ask costs no statement while nothing is wanted of
 * the agents that it is about. Signals, due times and the poll renew that. The poll also settles what a server left behind
 * that was killed between a lease's end and its settling. It polls only while somebody listens by `onWork`.
 */
export function createAgentTaskSource(options: AgentTaskSourceOptions, deps: AgentTaskSourceDeps): TaskSource {
  const source = new AgentTaskSource(options, deps);
  return {
    name: options.name,
    assignsWhenDisabled: options.assignsWhenDisabled ?? false,
    assignsInDowntime: options.assignsInDowntime ?? false,
    ask: (agents, context) => source.ask(agents, context),
    onWork: (wake) => source.onWork(wake),
    ended: (end) => source.ended(end),
  };
}

/** A task of an agent that is asked about, with the lease that would do it. */
interface Planned {
  readonly agent: AgentView;
  readonly known: KnownTask;
  readonly lease: AgentTaskLease;
}

class AgentTaskSource {
  readonly #options: AgentTaskSourceOptions;
  readonly #deps: AgentTaskSourceDeps;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #principal: Principal;
  readonly #drainTtlMs: number;
  readonly #pollMs: number;
  readonly #open: OpenTasks;
  readonly #wakes = new Set<() => void>();
  /** The open tasks may have changed since they were read. */
  #stale = true;
  #reading: Promise<void> | undefined;
  #settling = false;
  #settleAgain = false;
  #poll: ScheduledCall | undefined;
  #due: ScheduledCall | undefined;
  #unlisten: (() => void) | undefined;

  constructor(options: AgentTaskSourceOptions, deps: AgentTaskSourceDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
    this.#principal = options.principal ?? { kind: 'service', id: `task-source:${options.name}` };
    this.#drainTtlMs = options.drainTtlMs ?? 120_000;
    this.#pollMs = options.pollMs ?? 5_000;
    this.#open = new OpenTasks();
  }

  async ask(agents: readonly AgentView[], { signal }: AskContext): Promise<ReadonlyMap<string, TaskAnswer>> {
    const answers = new Map<string, TaskAnswer>();
    if (agents.length === 0) return answers;
    await this.#current(signal);
    const planned = await this.#plan(agents, signal);
    const nowMs = this.#clock.monotonicMs();
    const entries: { readonly planned: Planned; readonly entry: AgentTaskBinding }[] = [];
    for (const one of planned) {
      const { agent, known, lease } = one;
      const isNow = known.task.forced || agent.idle;
      // A place that was asked for lately is still there.
      if (!isNow && known.drainUntilMs > nowMs + this.#drainTtlMs / 2) {
        answers.set(agent.agentId, this.#drainAnswer());
      } else if (!known.isFull) {
        entries.push({ planned: one, entry: this.#entry(agent, known.task, isNow ? lease : undefined) });
      }
    }
    for (let from = 0; from < entries.length; from += bindingsMax) {
      const some = entries.slice(from, from + bindingsMax);
      const { name: source, atOnceMax } = this.#options;
      const results = await this.#deps.agentTasks.bind(
        {
          source,
          entries: some.map(({ entry }) => entry),
          drainTtlMs: this.#drainTtlMs,
          ...(atOnceMax === undefined ? {} : { atOnceMax }),
        },
        this.#context(signal),
      );
      results.forEach((result, index) => {
        const answer = this.#answerTo(result, some[index]!.planned);
        if (answer) answers.set(result.agentId, answer);
      });
    }
    this.#scheduleDue();
    return answers;
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

  /** One of its leases has ended, or was given back: settled beside whatever else happens. */
  ended(_end: AttemptEnd): void {
    void this.#settle();
  }

  async #plan(agents: readonly AgentView[], signal: AbortSignal): Promise<Planned[]> {
    const nowMs = this.#clock.monotonicMs();
    const planned: Planned[] = [];
    const dropped: { readonly known: KnownTask; readonly code: string; readonly message: string }[] = [];
    for (const agent of agents) {
      const known = this.#open.of(agent.agentId);
      if (known === undefined || known.dueAtMs > nowMs) continue;
      const plan = await this.#planOne(known.task, agent);
      known.isPlannedToWait = plan.kind === 'wait';
      known.isMissed = false;
      if (plan.kind === 'drop') dropped.push({ known, code: plan.code, message: plan.message });
      if (plan.kind === 'lease') planned.push({ agent, known, lease: plan.lease });
    }
    for (let from = 0; from < dropped.length; from += bindingsMax) {
      const some = dropped.slice(from, from + bindingsMax);
      await this.#deps.agentTasks.drop(
        some.map(({ known: { task }, code, message }) => ({
          source: task.source,
          agentId: task.agentId,
          revision: task.revision,
          reason: { code, message },
        })),
        this.#context(signal),
      );
      for (const { known } of some) this.#open.forget(known.task.agentId);
    }
    return planned;
  }

  async #planOne(task: OpenAgentTask, agent: AgentView): Promise<AgentTaskPlan> {
    try {
      const plan = await this.#deps.plan(task, agent);
      if (plan.kind !== 'lease') return plan;
      const type = payloadTypeOf(plan.lease.payload);
      if (agent.payloadTypes.includes(type)) return plan;
      return {
        kind: 'drop',
        code: 'LEASE_TYPE_UNKNOWN',
        message: `The agent has no handler for ${type}; it has: ${agent.payloadTypes.join(', ') || 'none'}.`,
      };
    } catch (error) {
      this.#logger.warn({ source: this.#options.name, agentId: agent.agentId, err: error }, 'a task cannot be planned');
      return { kind: 'wait' };
    }
  }

  #entry(agent: AgentView, task: OpenAgentTask, lease: AgentTaskLease | undefined): AgentTaskBinding {
    const { agentId, epoch } = agent;
    const base = { session: { agentId, epoch }, revision: task.revision };
    if (lease === undefined) return base;
    const draft: LeaseDraft = {
      ...lease,
      leaseId: randomUUID(),
      source: this.#options.name,
      requirements: task.forced ? {} : { exclusive: true },
      priority: 0,
      // The task goes on after a failure, not its lease: the lease is for this agent alone.
      retry: { attemptsMax: 1, after: [], onFailedWork: false, backoffMs: 0 },
    };
    return { ...base, draft };
  }

  #answerTo(result: BoundAgentTask, { known }: Planned): TaskAnswer | undefined {
    switch (result.result) {
      case 'bound':
        this.#open.forget(result.agentId);
        return { kind: 'assigned', attempts: [result.attempt] };
      case 'draining':
        known.drainUntilMs = this.#clock.monotonicMs() + this.#drainTtlMs;
        return this.#drainAnswer();
      case 'full':
        // Asked again when something has ended, or by the next poll.
        known.isFull = true;
        return undefined;
      case 'changed':
        this.#open.forget(result.agentId);
        this.#mayHaveWork();
        return undefined;
      case 'fenced':
        known.isMissed = true;
        return undefined;
    }
  }

  #drainAnswer(): TaskAnswer {
    return { kind: 'drain', reason: this.#options.drainReason };
  }

  async #settle(): Promise<void> {
    this.#settleAgain = true;
    if (this.#settling) return;
    this.#settling = true;
    try {
      while (this.#settleAgain) {
        this.#settleAgain = false;
        await this.#settleOnce();
      }
    } catch (error) {
      // The poll does it again.
      this.#logger.warn({ source: this.#options.name, err: error }, 'could not settle tasks whose leases have ended');
    } finally {
      this.#settling = false;
    }
  }

  async #settleOnce(): Promise<void> {
    const { agentTasks, settled: onSettled, signals } = this.#deps;
    const { name, retry } = this.#options;
    for (let round = 0; round < settleRoundsMax; round += 1) {
      const settled = await agentTasks.settle(name, retry, this.#context());
      if (settled.length === 0) return;
      // Places are free, and some tasks are open again: here and on other servers.
      this.#mayHaveWork();
      signals?.announce({ kind: 'work', source: name });
      for (const task of settled) {
        try {
          onSettled?.(task);
        } catch (error) {
          this.#logger.error(
            { source: name, agentId: task.agentId, err: error },
            'a listener failed to hear of an end',
          );
        }
      }
    }
  }

  /** Reads the open tasks if there was news since. */
  async #current(signal: AbortSignal): Promise<void> {
    if (this.#reading !== undefined) await this.#reading;
    if (!this.#stale) return;
    this.#reading ??= this.#read(signal)
      .then(() => undefined)
      .finally(() => {
        this.#reading = undefined;
      });
    await this.#reading;
  }

  async #read(signal?: AbortSignal): Promise<boolean> {
    this.#stale = false;
    try {
      const tasks = await this.#deps.agentTasks.open(this.#options.name, this.#context(signal));
      return this.#open.replace(tasks, this.#clock.monotonicMs(), this.#drainTtlMs);
    } catch (error) {
      this.#stale = true;
      throw error;
    }
  }

  #startLooking(): void {
    this.#stale = true;
    this.#unlisten = this.#deps.signals?.listen((signal) => {
      if (signal.kind === 'resync' || (signal.kind === 'work' && signal.source === this.#options.name)) {
        this.#mayHaveWork();
      }
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
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#wakes) wake();
  }

  #schedulePoll(): void {
    const random = this.#deps.random ?? Math.random;
    this.#poll = this.#clock.schedule(this.#pollMs * (0.75 + random() / 2), () => {
      this.#schedulePoll();
      void this.#pollOnce();
    });
  }

  async #pollOnce(): Promise<void> {
    try {
      await this.#settle();
      // An ask reads for itself; what is not news here is no reason to ask about every agent.
      const isNews = await this.#read();
      if (isNews || this.#open.hasLatePlace(this.#clock.monotonicMs(), this.#drainTtlMs / 2)) this.#wake();
      this.#scheduleDue();
    } catch (error) {
      this.#logger.warn({ source: this.#options.name, err: error }, 'could not look for tasks of agents');
    }
  }

  /** Wakes its listeners when the next task falls due, or a place must be asked for again. */
  #scheduleDue(): void {
    this.#due?.cancel();
    this.#due = undefined;
    if (this.#wakes.size === 0) return;
    const nowMs = this.#clock.monotonicMs();
    const atMs = this.#open.nextMs(nowMs, this.#drainTtlMs / 2);
    // Later ones are found by a poll that comes before they are due.
    if (atMs === undefined || atMs - nowMs > this.#pollMs * 2) return;
    this.#due = this.#clock.schedule(Math.max(1, atMs - nowMs), () => {
      this.#due = undefined;
      this.#wake();
    });
  }

  #context(signal?: AbortSignal): StoreContext {
    return signal === undefined ? { principal: this.#principal } : { principal: this.#principal, signal };
  }
}
