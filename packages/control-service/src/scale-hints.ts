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

/** What {@link ScaleHints} works with. */
export interface ScaleHintsDeps extends FleetReaderDeps {
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
  #read: { readonly atMs: number; readonly hints: Promise<readonly PoolHint[]> } | undefined;

  constructor(deps: ScaleHintsDeps) {
    this.#deps = deps;
  }

  async read(context: StoreContext): Promise<readonly PoolHint[]> {
    const nowMs = this.#deps.clock.monotonicMs();
    if (this.#read === undefined || nowMs - this.#read.atMs >= keptMs) {
      // One caller that gives up must not take the answer from the others.
      const hints = this.#compute({ principal: context.principal });
      const read = { atMs: nowMs, hints };
      this.#read = read;
      hints.catch(() => {
        if (this.#read === read) this.#read = undefined;
      });
    }
    return this.#read.hints;
  }

  async #compute(context: StoreContext): Promise<readonly PoolHint[]> {
    const { queue, policy, clock } = this.#deps;
    const work = await queue.waitingWork(context);
    const fleet = await readFleet(this.#deps, context);
    return poolHints(fleet, work, policy.pools, clock.wallMs());
  }
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
      agentsNeeded: Math.ceil(loads[index]!.agents - 1e-9),
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
