import {
  silentLogger,
  systemClock,
  type Clock,
  type Logger,
  type Principal,
  type ScheduledCall,
} from '@drover/lease-kit';
import { definePools, poolKey, type Pools } from '@drover/lease-matching';
import type {
  AgentHealthRecord,
  AgentHealthStore,
  AgentSettings,
  AgentSettingsStore,
  DowntimeRecord,
  PoolStore,
  StoreContext,
  StoreSignals,
} from '@drover/lease-store';
import { downtimeMoment } from './downtime-moment.ts';
import { openPolicy, type AgentPolicy, type LiveFleetPolicy } from './fleet-policy.ts';

/** Times of a policy, in ms. */
export interface FleetPolicyOptions {
  /** How often everything is read although no signal came, ± 25 %. Default 30 s. */
  readonly pollMs?: number;
  /** Wait after a read that failed. Default 1 s. */
  readonly retryMs?: number;
}

/** Who works together in a policy. */
export interface FleetPolicyDeps {
  readonly store: {
    readonly pools: Pick<PoolStore, 'pools'>;
    readonly agentSettings: Pick<AgentSettingsStore, 'settings' | 'downtimes'>;
    readonly agentHealth: Pick<AgentHealthStore, 'records'>;
    readonly signals: StoreSignals;
  };
  /** On whose behalf the store is asked. */
  readonly principal: Principal;
  /** Its wall time is what downtimes begin and end by. Default: that of the process. */
  readonly clock?: Clock;
  /** From 0 to below 1. Default `Math.random`. */
  readonly random?: () => number;
  /** Default: silence. */
  readonly logger?: Logger;
}

const page = 1_000;
/** Pools list agents, so that a page of them may be large. */
const poolsPage = 100;
/** A timer of Node with a longer delay fires at once. */
const timerMsMax = 2 ** 31 - 1;

interface ActiveDowntime {
  readonly agents: ReadonlySet<string>;
  /** As keys. */
  readonly pools: ReadonlySet<string>;
  readonly everybody: boolean;
  readonly downtime: NonNullable<AgentPolicy['downtime']>;
}

/**
 * Pools, settings and downtimes of a store, held in memory: a signal of any server, the beginning or the end of a downtime and
 * the end of being busy change them at once; a poll is the floor. While the store is away what was read last holds.
 *
 * ```
 *  created ──start──▶ reading ──▶ fresh ──signal, poll──▶ reading (again if a signal comes meanwhile)
 *                        └─fails─▶ stale ──retry──▲
 * ```
 */
export function createFleetPolicy(deps: FleetPolicyDeps, options: FleetPolicyOptions = {}): LiveFleetPolicy {
  return new StoredPolicy(deps, options);
}

class StoredPolicy implements LiveFleetPolicy {
  readonly #deps: FleetPolicyDeps;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #logger: Logger;
  readonly #pollMs: number;
  readonly #retryMs: number;
  readonly #listeners = new Set<() => void>();
  readonly #stopping = new AbortController();
  #pools: Pools = [];
  /** Of the pools that have any, by key. */
  #weights: ReadonlyMap<string, ReadonlyMap<string, number>> = new Map();
  #settings: ReadonlyMap<string, AgentSettings> = new Map();
  /** Agents that are withheld. */
  #withheld: ReadonlyMap<string, AgentHealthRecord> = new Map();
  #downtimes: readonly DowntimeRecord[] = [];
  #active: readonly ActiveDowntime[] = [];
  /** What was read last, to see whether anything changed. */
  #read = '';
  #reading: Promise<void> | undefined;
  #again: Promise<void> | undefined;
  #unlisten: (() => void) | undefined;
  #poll: ScheduledCall | undefined;
  #boundary: ScheduledCall | undefined;

  constructor(deps: FleetPolicyDeps, { pollMs = 30_000, retryMs = 1_000 }: FleetPolicyOptions) {
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#random = deps.random ?? Math.random;
    this.#logger = deps.logger ?? silentLogger;
    this.#pollMs = pollMs;
    this.#retryMs = retryMs;
  }

  get pools(): Pools {
    return this.#pools;
  }

  policyOf(agentId: string, pools: readonly string[]): AgentPolicy {
    const settings = this.#settings.get(agentId);
    const downtime = this.#downtimeOf(agentId, pools);
    const nowMs = this.#clock.wallMs();
    const busy = settings?.busy !== undefined && settings.busy.untilMs > nowMs ? settings.busy : undefined;
    const withheld = this.#withheld.get(agentId);
    if (settings?.disabled === undefined && busy === undefined && downtime === undefined && withheld === undefined) {
      return openPolicy.policyOf(agentId, pools);
    }
    return {
      ...(settings?.disabled === undefined ? {} : { disabled: settings.disabled }),
      ...(busy === undefined ? {} : { busy }),
      ...(downtime === undefined ? {} : { downtime }),
      ...(withheld === undefined ? {} : { withheld }),
    };
  }

  weightOf(pool: string | undefined, submitter: string): number {
    if (pool === undefined || this.#weights.size === 0) return 1;
    return this.#weights.get(poolKey(pool))?.get(submitter) ?? 1;
  }

  onChange(listener: () => void): () => void {
    const entry = (): void => listener();
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  async start(signal?: AbortSignal): Promise<void> {
    this.#unlisten ??= this.#deps.store.signals.listen(({ kind }) => {
      if (kind === 'settings' || kind === 'resync') this.#readSoon();
    });
    await this.refresh();
    signal?.throwIfAborted();
  }

  async refresh(): Promise<void> {
    // What is being read now may have been read before the change that this call is about.
    if (this.#reading === undefined) return this.#readNow();
    this.#again ??= this.#reading
      .catch(() => undefined)
      .then(() => {
        this.#again = undefined;
        return this.#readNow();
      });
    return this.#again;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    this.#unlisten?.();
    this.#poll?.cancel();
    this.#boundary?.cancel();
    this.#listeners.clear();
    await this.#again?.catch(() => undefined);
    await this.#reading?.catch(() => undefined);
    this.#poll?.cancel();
    this.#boundary?.cancel();
  }

  #readSoon(): void {
    this.refresh().catch(() => undefined);
  }

  #readNow(): Promise<void> {
    this.#poll?.cancel();
    const reading = this.#readAll().then(
      () => this.#after(this.#pollMs * (0.75 + this.#random() / 2)),
      (error: unknown) => {
        if (!this.#stopping.signal.aborted)
          this.#logger.warn({ err: error }, 'pools and settings of agents could not be read');
        this.#after(this.#retryMs);
        throw error;
      },
    );
    this.#reading = reading;
    return reading;
  }

  #after(delayMs: number): void {
    this.#reading = undefined;
    if (this.#stopping.signal.aborted || this.#unlisten === undefined) return;
    this.#poll = this.#clock.schedule(delayMs, () => this.#readSoon());
  }

  async #readAll(): Promise<void> {
    const { store, principal } = this.#deps;
    const context: StoreContext = { principal, signal: this.#stopping.signal };
    const pools = await all(
      (after) => store.pools.pools({ ...after, limit: poolsPage }, context),
      poolsPage,
      (one) => one.name,
    );
    const settings = await all(
      (after) => store.agentSettings.settings({ ...after, limit: page }, context),
      page,
      (one) => one.agentId,
    );
    const downtimes = await all(
      (after) => store.agentSettings.downtimes({ ...after, limit: page }, context),
      page,
      (one) => one.downtimeId,
    );
    const health = await all(
      (after) => store.agentHealth.records({ ...after, limit: page }, context),
      page,
      (one) => one.agentId,
    );
    const withheld = health.filter(({ isWithheld }) => isWithheld);
    const read = JSON.stringify([pools, settings, downtimes, withheld]);
    if (read === this.#read) return;
    this.#read = read;
    this.#pools = definePools(pools);
    const weighted = this.#pools.filter(({ weights }) => weights.size > 0);
    this.#weights = new Map(weighted.map(({ name, weights }) => [poolKey(name), weights]));
    this.#settings = new Map(settings.map((one) => [one.agentId, one]));
    this.#downtimes = downtimes;
    this.#withheld = new Map(withheld.map((one) => [one.agentId, one]));
    this.#changed();
  }

  /** Finds the downtimes under way, tells everybody, and comes back when time changes something. */
  #changed(): void {
    this.#boundary?.cancel();
    const nowMs = this.#clock.wallMs();
    const active: ActiveDowntime[] = [];
    let nextMs = Infinity;
    for (const one of this.#downtimes) {
      const { untilMs, nextChangeMs = Infinity } = this.#momentOf(one, nowMs);
      nextMs = Math.min(nextMs, nextChangeMs);
      if (untilMs === undefined) continue;
      const { agents, pools, comment, by, atMs } = one;
      active.push({
        agents: new Set(agents),
        pools: new Set(pools.map((name) => poolKey(name))),
        everybody: agents.length === 0 && pools.length === 0,
        downtime: { untilMs, comment, by, atMs },
      });
    }
    for (const { busy } of this.#settings.values()) {
      if (busy !== undefined && busy.untilMs > nowMs) nextMs = Math.min(nextMs, busy.untilMs);
    }
    // The one that ends last comes first.
    this.#active = active.sort((a, b) => b.downtime.untilMs - a.downtime.untilMs);
    if (nextMs !== Infinity && !this.#stopping.signal.aborted) {
      this.#boundary = this.#clock.schedule(Math.min(timerMsMax, nextMs - nowMs), () => this.#changed());
    }
    for (const listener of this.#listeners) listener();
  }

  #momentOf(downtime: DowntimeRecord, nowMs: number): ReturnType<typeof downtimeMoment> {
    try {
      return downtimeMoment(downtime, nowMs);
    } catch (error) {
      // A zone that this machine does not know; one downtime must not take the others with it.
      this.#logger.error({ err: error, downtimeId: downtime.downtimeId }, 'a downtime cannot be understood');
      return {};
    }
  }

  #downtimeOf(agentId: string, pools: readonly string[]): AgentPolicy['downtime'] {
    if (this.#active.length === 0) return undefined;
    const keys = pools.map((name) => poolKey(name));
    return this.#active.find(
      (one) => one.everybody || one.agents.has(agentId) || keys.some((key) => one.pools.has(key)),
    )?.downtime;
  }
}

/** Every row of a paged list. */
async function all<Row>(
  read: (after: { readonly after?: string }) => Promise<readonly Row[]>,
  limit: number,
  idOf: (row: Row) => string,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (let after: string | undefined; ; after = idOf(rows.at(-1)!)) {
    const part = await read(after === undefined ? {} : { after });
    rows.push(...part);
    if (part.length < limit) return rows;
  }
}
