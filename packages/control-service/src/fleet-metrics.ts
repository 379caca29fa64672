import type { Meter, Observation, Principal } from '@drover/lease-kit';
import type { PoolHint, ScaleHints, SizeHint } from './scale-hints.ts';

/** On whose behalf the fleet is read for those who watch it. */
const principal: Principal = { kind: 'service', id: 'metrics' };
/** Pools with series of their own, by what waits for them; the others are added up as one. */
const poolsMax = 256;
const otherPools = '(other)';

/**
 * Shows what waits for each pool and who would take it, and how many agents there are by state. The fleet is read when somebody
 * reads the metrics, at most every 5 s, and all gauges of a reading come from the same look.
 */
export function observeFleet(meter: Meter, hints: ScaleHints): void {
  const ofPools = (
    name: string,
    description: string,
    observe: (hint: PoolHint, seen: (value: number, labels?: { readonly size: string }) => void) => void,
    isLongest = false,
  ): void => {
    meter.createObservableGauge(name, { description }).addCallback(async (observation) => {
      const { pools } = await hints.look({ principal });
      const shown = shownPools(pools);
      const others = { value: 0, isThere: false };
      for (const hint of pools) {
        if (shown.has(hint)) {
          observe(hint, (value, labels) => observation.observe(value, { pool: hint.pool ?? '', ...labels }));
          continue;
        }
        observe(hint, (value, labels) => {
          // Sizes of many pools say nothing together.
          if (labels !== undefined) return;
          others.isThere = true;
          others.value = isLongest ? Math.max(others.value, value) : others.value + value;
        });
      }
      if (others.isThere) observation.observe(others.value, { pool: otherPools });
    });
  };
  ofPools('drover_pool_waiting_leases', 'Leases that wait; the pool "" is of those that name none.', (hint, seen) =>
    seen(hint.leasesWaiting),
  );
  ofPools(
    'drover_pool_oldest_wait_seconds',
    'How long the oldest of them has waited.',
    (hint, seen) => seen(hint.longestWaitMs / 1_000),
    true,
  );
  ofPools('drover_pool_unplaceable_leases', 'Leases among them that no agent known could take.', (hint, seen) =>
    seen(hint.leasesNobodyCanTake),
  );
  ofPools('drover_pool_working_agents', 'Agents that are connected and let work; the pool "" is all.', (hint, seen) =>
    seen(hint.agentsWorking),
  );
  ofPools('drover_pool_idle_agents', 'Agents among them that hold no lease.', (hint, seen) => seen(hint.agentsIdle));
  ofPools('drover_pool_needed_agents', 'Idle agents of a size that would take all that waits at once.', (hint, seen) =>
    hint.sizes.forEach((size) => seen(size.agentsNeeded, { size: sizeText(size) })),
  );
  const agents = meter.createObservableGauge('drover_agents', {
    description: 'Agents that are known, by what they say of themselves and whether operators let them work.',
  });
  agents.addCallback(async (observation: Observation) => {
    const { agentsByState } = await hints.look({ principal });
    for (const { state, enabled, count } of agentsByState) observation.observe(count, { state, enabled });
  });
}

function shownPools(pools: readonly PoolHint[]): ReadonlySet<PoolHint> {
  if (pools.length <= poolsMax) return new Set(pools);
  // What names no pool comes first, and stays.
  const [none, ...named] = pools;
  const byWaiting = named.sort((a, b) => b.leasesWaiting - a.leasesWaiting);
  return new Set([none!, ...byWaiting.slice(0, poolsMax - 1)]);
}

function sizeText({ resources, leasesMax }: SizeHint): string {
  const counts = Object.entries(resources).sort(([a], [b]) => (a < b ? -1 : 1));
  return [...counts, ['leases', leasesMax]].map(([name, count]) => `${name}=${count}`).join(',');
}
