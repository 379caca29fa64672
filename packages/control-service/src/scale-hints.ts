import type { Clock } from '@drover/lease-kit';
import { capacityFor, fitMismatch, poolKey, type Pools } from '@drover/lease-matching';
import type { LeaseQueue, StoreContext, WaitingWork } from '@drover/lease-store';
import { readFleet, type FleetAgent, type FleetReaderDeps } from './fleet-reader.ts';

/** Agents of one size: equal counted resources and leases at once. */
export interface SizeHint {
  readonly resources: Readonly<Record<string, number>>;
  readonly leasesMax: number;
  readonly agents: number;
  readonly agentsIdle: number;
  readonly leasesFitting: number;
  readonly agentsNeeded: number;
}

/** What waits for a pool, and who would take it. */
export interface PoolHint {
  /** Undefined: of what names no pool, and of all agents. */
  readonly pool: string | undefined;
  readonly leasesWaiting: number;
  readonly longestWaitMs: number;
  readonly leasesNobodyCanTake: number;
  readonly agentsWorking: number;
  readonly agentsIdle: number;
  readonly sizes: readonly SizeHint[];
}

/** How many agents are in a state. */
export interface StateCount {
  readonly state: 'ok' | 'busy' | 'stopping' | 'unhealthy' | 'offline';
  /** Operators let them work. */
  readonly enabled: boolean;
  readonly count: number;
}

/** The fleet at one moment. */
export interface FleetLook {
  readonly pools: readonly PoolHint[];
  /** Every state, with 0 where there is none. */
  readonly agentsByState: readonly StateCount[];
}

/** What {@link ScaleHints} works with. */
export interface ScaleHintsDeps extends Pick<FleetReaderDeps, 'sessions' | 'policy'> {
  readonly queue: Pick<LeaseQueue, 'waitingWork'>;
  readonly clock: Clock;
}

const keptMs = 5_000;
const sizesShownMax = 16;
const sizesMax = 256;
/** Agents of a size that are tried for a class: their properties differ, and conditions look at those. */
const triedOfSize = 64;

/** Hints about all pools, read at most every 5 s however many ask: a scan of the fleet and of what waits. */
export class ScaleHints {
  readonly #deps: ScaleHintsDeps;
  #last: { readonly atMs: number; readonly look: Promise<FleetLook> } | undefined;

  constructor(deps: ScaleHintsDeps) {
    this.#deps = deps;
  }

  async read(context: StoreContext): Promise<readonly PoolHint[]> {
    return (await this.look(context)).pools;
  }

  /** What was seen at most 5 s ago. */
  async look(context: StoreContext): Promise<FleetLook> {
    const nowMs = this.#deps.clock.monotonicMs();
    if (this.#last === undefined || nowMs - this.#last.atMs >= keptMs) {
      // One caller that gives up must not take the answer from the others.
      const look = this.#compute({ principal: context.principal });
      const last = { atMs: nowMs, look };
      this.#last = last;
      look.catch(() => {
        if (this.#last === last) this.#last = undefined;
      });
    }
    return this.#last.look;
  }

  async #compute(context: StoreContext): Promise<FleetLook> {
    const { queue, sessions, policy, clock } = this.#deps;
    const work = await queue.waitingWork(context);
    // Who holds an agent exclusively makes no difference to what would fit on it: that is not read.
    const fleet = await readFleet({ sessions, policy }, context);
    return { pools: poolHints(fleet, work, policy.pools, clock.wallMs()), agentsByState: stateCounts(fleet) };
  }
}

const states = ['ok', 'busy', 'stopping', 'unhealthy', 'offline'] as const;

function stateCounts(fleet: readonly FleetAgent[]): StateCount[] {
  const counts = new Map<string, number>();
  for (const { record, offer } of fleet) {
    const key = `${stateOf(record, offer)} ${offer.enabled}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return states.flatMap((state) =>
    [true, false].map((enabled) => ({ state, enabled, count: counts.get(`${state} ${enabled}`) ?? 0 })),
  );
}

function stateOf(record: FleetAgent['record'], offer: FleetAgent['offer']): StateCount['state'] {
  if (!offer.hasSession) return 'offline';
  if (record.condition !== 'ready') return record.condition;
  return offer.busy ? 'busy' : 'ok';
}

/** Hints for what names no pool, then for every pool that is defined, or waited for, by name. */
export function poolHints(
  fleet: readonly FleetAgent[],
  work: readonly WaitingWork[],
  pools: Pools,
  nowMs: number,
): readonly PoolHint[] {
  const names = new Map<string, string>();
  for (const { requirements } of work) {
    if (requirements.pool !== undefined) names.set(poolKey(requirements.pool), requirements.pool);
  }
  for (const { name } of pools) names.set(poolKey(name), name);
  const byPool = Map.groupBy(work, ({ requirements: { pool } }) => (pool === undefined ? '' : poolKey(pool)));
  const members = new Map<string, FleetAgent[]>();
  for (const agent of fleet) {
    for (const name of agent.traits.pools) {
      const key = poolKey(name);
      const list = members.get(key);
      if (list === undefined) members.set(key, [agent]);
      else list.push(agent);
    }
  }
  const sorted = [...names].sort(([a], [b]) => (a < b ? -1 : 1));
  return [
    poolHint(undefined, fleet, byPool.get('') ?? [], nowMs),
    ...sorted.map(([key, name]) => poolHint(name, members.get(key) ?? [], byPool.get(key) ?? [], nowMs)),
  ];
}

function poolHint(
  pool: string | undefined,
  agents: readonly FleetAgent[],
  work: readonly WaitingWork[],
  nowMs: number,
): PoolHint {
  const sizes = [...Map.groupBy(agents, sizeKey).values()].sort((a, b) => b.length - a.length).slice(0, sizesMax);
  const loads = sizes.map(() => ({ leases: 0, agents: 0 }));
  let nobody = 0;
  for (const { requirements, payloadType, leases } of work) {
    let isFitting = false;
    sizes.forEach((ofSize, index) => {
      const fits = ofSize
        .slice(0, triedOfSize)
        .some(
          ({ payloadTypes, offer }) => payloadTypes.has(payloadType) && fitMismatch(requirements, offer) === undefined,
        );
      const { slotsTotal: slotsFree, resourcesTotal: resourcesFree } = ofSize[0]!.offer;
      const each = capacityFor(requirements, { slotsFree, resourcesFree, idle: true, exclusivelyHeld: false });
      if (!fits || each < 1) return;
      isFitting = true;
      loads[index]!.leases += leases;
      loads[index]!.agents += leases / each;
    });
    if (!isFitting) nobody += leases;
  }
  const working = agents.filter(isWorking);
  return {
    pool,
    leasesWaiting: work.reduce((sum, { leases }) => sum + leases, 0),
    longestWaitMs: work.reduce((longest, { oldestAtMs }) => Math.max(longest, nowMs - oldestAtMs), 0),
    leasesNobodyCanTake: nobody,
    agentsWorking: working.length,
    agentsIdle: working.filter(({ record }) => record.leases === 0).length,
    sizes: sizes.slice(0, sizesShownMax).map((ofSize, index) => ({
      resources: ofSize[0]!.traits.resourcesTotal,
      leasesMax: ofSize[0]!.traits.leasesMax,
      agents: ofSize.length,
      agentsIdle: ofSize.filter((agent) => isWorking(agent) && agent.record.leases === 0).length,
      leasesFitting: loads[index]!.leases,
      // Fractions of a lease's share may add up to a hair more than a whole agent.
      agentsNeeded: Math.max(0, Math.ceil(loads[index]!.agents - 1e-9)),
    })),
  };
}

function isWorking({ offer, record }: FleetAgent): boolean {
  const { hasSession, enabled, inDowntime, stopping, healthy, busy } = offer;
  if (record.description.ephemeral && record.leases > 0) return false;
  return hasSession && enabled && !inDowntime && !stopping && healthy && !busy;
}

function sizeKey({ traits: { resourcesTotal, leasesMax } }: FleetAgent): string {
  return JSON.stringify([Object.entries(resourcesTotal).sort(([a], [b]) => (a < b ? -1 : 1)), leasesMax]);
}
