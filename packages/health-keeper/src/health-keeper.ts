import type { Any } from '@bufbuild/protobuf/wkt';
import {
  decideHealth,
  defaultHealthRules,
  judgeAgents,
  quarantineCaps,
  type CanaryEnd,
  type HealthRules,
  type QuarantineMax,
} from '@drover/agent-health';
import type { FleetPolicy } from '@drover/fleet-policy';
import {
  silentLogger,
  systemClock,
  type Clock,
  type Logger,
  type Principal,
  type ScheduledCall,
} from '@drover/lease-kit';
import type {
  AgentHealthChange,
  AgentHealthRecord,
  AgentHealthResult,
  AgentRecord,
  AgentTaskRecord,
  DroverStore,
  StoreContext,
} from '@drover/lease-store';
import { canarySourceName } from './canary-source.ts';
import { readMembers, type FleetMembers } from './read-members.ts';

/** How a keeper works. */
export interface HealthKeeperOptions {
  /** How often one of the fleet's servers looks at the facts. Default 15 s, ±25 %. */
  readonly everyMs?: number;
  /** The most agents of each pool, and of the whole fleet, that are kept from work. Default a quarter. */
  readonly max?: QuarantineMax;
  readonly rules?: Partial<HealthRules>;
}

/** Who works together in a keeper. */
export interface HealthKeeperDeps {
  readonly store: Pick<DroverStore, 'agentHealth' | 'agentTasks' | 'sessions' | 'signals'>;
  readonly policy: FleetPolicy;
  /** What an agent is tried with. */
  readonly canary: (agent: AgentRecord) => Any;
  /** On whose behalf the store is asked. Default: the service `health-keeper`. */
  readonly principal?: Principal;
  /** Default: that of the process. */
  readonly clock?: Clock;
  /** From 0 to below 1. Default `Math.random`. */
  readonly random?: () => number;
  /** Default: silence. */
  readonly logger?: Logger;
}

/** Keeps watch over agents. */
export interface HealthKeeper extends AsyncDisposable {
  /** Begins to look at the facts, by and by. Idempotent. */
  start(): void;
  /** Looks at the facts now, unless another server has lately. True if it did. */
  look(): Promise<boolean>;
}

const pageSize = 1_000;
const changesAtOnce = 200;
/** A canary that its agent has not taken by then is wanted anew. */
const canaryExpiresMs = 7 * 86_400_000;

/**
 * Looks at how leases ended, and lets follow what `decideHealth` says. Any number of servers have one each; the store lets one
 * of them look at a time, and counts caps in its transaction. A look compares what is stored with what should be, so that one
 * that is interrupted anywhere is completed by the next: a canary that was to be wanted and is not is wanted then.
 */
export function createHealthKeeper(deps: HealthKeeperDeps, options: HealthKeeperOptions = {}): HealthKeeper {
  return new StoredHealthKeeper(deps, options);
}

type Decided = AgentHealthChange & { readonly before: AgentHealthRecord | undefined };

class StoredHealthKeeper implements HealthKeeper {
  readonly #deps: HealthKeeperDeps;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #principal: Principal;
  readonly #rules: HealthRules;
  readonly #max: QuarantineMax;
  readonly #everyMs: number;
  readonly #stopping = new AbortController();
  /** Agents of which it was said that a cap leaves them at work. */
  #warned = new Set<string>();
  #next: ScheduledCall | undefined;
  #looking: Promise<unknown> = Promise.resolve();

  constructor(deps: HealthKeeperDeps, { everyMs = 15_000, max, rules }: HealthKeeperOptions) {
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
    this.#principal = deps.principal ?? { kind: 'service', id: 'health-keeper' };
    this.#rules = { ...defaultHealthRules, ...rules };
    this.#max = max ?? { kind: 'share', share: 0.25 };
    this.#everyMs = everyMs;
  }

  start(): void {
    if (this.#next === undefined) this.#schedule();
  }

  async look(): Promise<boolean> {
    const { agentHealth } = this.#deps.store;
    // A little less than the time between two looks of one server, which varies.
    if (!(await agentHealth.claimPass(Math.max(10, Math.floor(this.#everyMs * 0.7)), this.#context()))) return false;
    await this.#look();
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    this.#next?.cancel();
    await this.#looking;
    this.#next?.cancel();
  }

  #schedule(): void {
    if (this.#stopping.signal.aborted) return;
    const random = this.#deps.random ?? Math.random;
    this.#next = this.#clock.schedule(this.#everyMs * (0.75 + random() / 2), () => {
      this.#looking = this.look()
        .catch((error: unknown) => {
          if (!this.#stopping.signal.aborted)
            this.#logger.warn({ err: error }, 'agents’ health could not be looked at');
        })
        .then(() => this.#schedule());
    });
  }

  async #look(): Promise<void> {
    const { store, policy } = this.#deps;
    const facts = await store.agentHealth.facts(this.#rules.windowMs, this.#context());
    const records = new Map((await this.#records()).map((record) => [record.agentId, record]));
    const suspicions = judgeAgents(facts, this.#rules, (agentId) => records.get(agentId)?.clearedAtMs ?? 0);
    const suspects = [...suspicions.values()].filter(({ isEnough }) => isEnough).map(({ agentId }) => agentId);
    if (records.size === 0 && suspects.length === 0) return;
    const canaries = new Map((await this.#canaries()).map((task) => [task.agentId, task]));
    const isWithheld = (agentId: string): boolean => records.get(agentId)?.isWithheld === true;
    const members = await readMembers(store.sessions, policy, isWithheld, this.#context());
    const changes: Decided[] = [];
    for (const agentId of new Set([...records.keys(), ...suspects])) {
      const before = records.get(agentId);
      const next = decideHealth(
        {
          health: before === undefined ? undefined : healthOf(before),
          suspicion: suspicions.get(agentId),
          canary: before === undefined ? undefined : canaryEnd(before, canaries.get(agentId)),
          mayTry: this.#mayTry(agentId, members),
          nowMs: facts.nowMs,
        },
        this.#rules,
      );
      if (next === undefined) continue;
      const revision = before?.revision ?? 0;
      changes.push({ agentId, revision, next, before, caps: this.#capsOf(agentId, members) });
    }
    await this.#carryOut(changes);
    await this.#wantCanaries(members, canaries);
  }

  async #carryOut(changes: readonly Decided[]): Promise<void> {
    const { agentHealth, signals } = this.#deps.store;
    const warned = new Set<string>();
    let changed = false;
    for (let from = 0; from < changes.length; from += changesAtOnce) {
      const some = changes.slice(from, from + changesAtOnce);
      const results = await agentHealth.change(
        some.map(({ before: _, ...change }) => change),
        this.#context(),
      );
      results.forEach((result, index) => {
        changed ||= result.result !== 'changed';
        this.#tell(some[index]!, result);
        if (result.result === 'full') warned.add(result.agentId);
      });
    }
    this.#warned = warned;
    if (changed) signals.announce({ kind: 'settings' });
  }

  #tell({ agentId, next, before }: Decided, result: AgentHealthResult): void {
    if (result.result === 'changed') return;
    if (next === 'healthy') return this.#logger.info({ agentId }, 'the agent is healthy again');
    const { state, reason, canaryDueMs } = next;
    if (result.result === 'full') {
      if (this.#warned.has(agentId)) return;
      const { pool } = result;
      return this.#logger.warn(
        { agentId, pool, reason },
        'the agent is suspected, and stays at work: its pool’s cap is reached',
      );
    }
    if (before?.state === state && before.isWithheld === next.isWithheld) return;
    if (state === 'cleared') return this.#logger.info({ agentId }, 'the agent’s canary succeeded: it works again');
    this.#logger.warn({ agentId, reason, canaryDueMs }, `the agent is ${state}: it gets no ordinary work`);
  }

  /** Wants what the records say is wanted, and nothing else. */
  async #wantCanaries(members: FleetMembers, canaries: ReadonlyMap<string, AgentTaskRecord>): Promise<void> {
    const { agentTasks, signals } = this.#deps.store;
    const records = await this.#records();
    const wished = new Set(records.flatMap((one) => (one.canaryWantedMs === undefined ? [] : [one.agentId])));
    const missing = records.flatMap((record) => {
      const member = members.of(record.agentId);
      const task = canaries.get(record.agentId);
      const isThere = task !== undefined && (isLive(task) || canaryEnd(record, task) !== undefined);
      return !wished.has(record.agentId) || isThere || member === undefined ? [] : [member.record];
    });
    for (let from = 0; from < missing.length; from += changesAtOnce) {
      const wishes = missing.slice(from, from + changesAtOnce).map((agent) => ({
        source: canarySourceName,
        agentId: agent.agentId,
        payload: this.#deps.canary(agent),
        forced: true,
        expiresAfterMs: canaryExpiresMs,
      }));
      await agentTasks.want(wishes, this.#context());
    }
    const stale = [...canaries.values()].filter((task) => isLive(task) && !wished.has(task.agentId));
    if (stale.length > 0) {
      const keys = stale.slice(0, pageSize).map(({ source, agentId }) => ({ source, agentId }));
      const withdrawn = await agentTasks.withdraw(keys, 'the agent’s health was decided', this.#context());
      for (const { agentId, result } of withdrawn) {
        if (result === 'cancelling') signals.announce({ kind: 'cancel', agentId });
      }
    }
    if (missing.length + stale.length > 0) signals.announce({ kind: 'work', source: canarySourceName });
  }

  #mayTry(agentId: string, members: FleetMembers): boolean {
    const member = members.of(agentId);
    if (member?.record.session === undefined) return false;
    return this.#deps.policy.policyOf(agentId, member.pools).disabled === undefined;
  }

  #capsOf(agentId: string, members: FleetMembers): AgentHealthChange['caps'] {
    const pools = members.of(agentId)?.pools ?? [];
    return quarantineCaps(pools, (pool) => members.count(pool), this.#max);
  }

  #records(): Promise<AgentHealthRecord[]> {
    const { agentHealth } = this.#deps.store;
    return allOf(
      (page) => agentHealth.records(page, this.#context()),
      ({ agentId }) => agentId,
    );
  }

  #canaries(): Promise<AgentTaskRecord[]> {
    const { agentTasks } = this.#deps.store;
    const source = canarySourceName;
    return allOf(
      ({ limit, after }) => {
        const from = after === undefined ? {} : { after: { source, agentId: after } };
        return agentTasks.list({ source, limit, ...from }, this.#context());
      },
      ({ agentId }) => agentId,
    );
  }

  #context(): StoreContext {
    return { principal: this.#principal, signal: this.#stopping.signal };
  }
}

/** How the canary that a record wants ended; undefined while it goes on or is not there yet. */
function canaryEnd(record: AgentHealthRecord, task: AgentTaskRecord | undefined): CanaryEnd | undefined {
  const { canaryWantedMs } = record;
  if (canaryWantedMs === undefined || task === undefined || isLive(task)) return undefined;
  if (task.requestedAtMs < canaryWantedMs) return undefined;
  const { last } = task;
  if (last === undefined || last.atMs < task.requestedAtMs) return { result: 'undecided', message: task.state };
  if (last.succeeded) return { result: 'succeeded', message: '' };
  if (last.outcome === 'refused' || last.outcome === 'cancelled') {
    return { result: 'undecided', message: last.reason?.message ?? last.outcome };
  }
  const why = last.outcome === 'completed' ? 'its work failed' : `it ended as ${last.outcome}`;
  return { result: 'failed', message: last.reason === undefined ? why : `${last.reason.code}: ${last.reason.message}` };
}

function isLive({ state }: AgentTaskRecord): boolean {
  return state !== 'ended' && state !== 'expired';
}

function healthOf({ agentId: _id, revision: _revision, pools: _pools, ...health }: AgentHealthRecord) {
  return health;
}

async function allOf<Row>(
  read: (page: { readonly limit: number; readonly after?: string }) => Promise<readonly Row[]>,
  idOf: (row: Row) => string,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (;;) {
    const last = rows.at(-1);
    const page = await read({ limit: pageSize, ...(last === undefined ? {} : { after: idOf(last) }) });
    rows.push(...page);
    if (page.length < pageSize) return rows;
  }
}
