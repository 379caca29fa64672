import { definePools } from '@drover/lease-matching';
import type { WaitingWork } from '@drover/lease-store';
import { agentOffer, type AgentTraits } from '@drover/task-sources';
import { expect, test } from 'vitest';
import type { FleetAgent } from './fleet-reader.ts';
import { poolHints } from './scale-hints.ts';

/** An agent that is connected, in pool "build" and idle, unless said otherwise. */
function agent(cores: number, { leases = 0, enabled = true }: { leases?: number; enabled?: boolean } = {}): FleetAgent {
  const traits = {
    agentId: `a${cores}`,
    properties: new Map(),
    pools: ['build'],
    resourcesTotal: { cores },
    leasesMax: 8,
    payloadTypes: ['x.Work'],
  } as unknown as AgentTraits;
  const use = { leases, resourcesUsed: {}, exclusivelyHeld: false };
  const state = { hasSession: true, enabled, inDowntime: false, stopping: false, healthy: true, busy: false };
  return {
    record: { leases, description: { ephemeral: false } } as FleetAgent['record'],
    traits,
    policy: {},
    offer: agentOffer(traits, use, { ...state, draining: false }),
    payloadTypes: new Set(['x.Work']),
  };
}

function waiting(leases: number, cores: number, more: Partial<WaitingWork> = {}): WaitingWork {
  const requirements = { pool: 'Build', resources: { cores } };
  return { requirements, payloadType: 'x.Work', leases, oldestAtMs: 4_000, ...more } as WaitingWork;
}

test('says how many agents of each size would take at once what waits for a pool, and what nobody can take', () => {
  const fleet = [agent(4), agent(4, { leases: 1 }), agent(4, { enabled: false }), agent(16)];
  const work = [waiting(6, 2), waiting(1, 8, { oldestAtMs: 1_000 }), waiting(2, 64)];
  const [none, build] = poolHints(fleet, work, definePools([{ name: 'build', agents: [] }]), 10_000);
  expect(none).toMatchObject({ pool: undefined, leasesWaiting: 0, longestWaitMs: 0, agentsWorking: 3, agentsIdle: 2 });
  expect(build).toMatchObject({
    pool: 'build',
    leasesWaiting: 9,
    longestWaitMs: 9_000,
    leasesNobodyCanTake: 2,
    agentsWorking: 3,
    agentsIdle: 2,
  });
  expect(build?.sizes).toEqual([
    // Two at once on each of four cores: three agents; eight cores are too many for them.
    { resources: { cores: 4 }, leasesMax: 8, agents: 3, agentsIdle: 1, leasesFitting: 6, agentsNeeded: 3 },
    // Six of eight places, and half of the cores for the large one: 0.75 + 0.5.
    { resources: { cores: 16 }, leasesMax: 8, agents: 1, agentsIdle: 1, leasesFitting: 7, agentsNeeded: 2 },
  ]);
});

test('shows pools that are only waited for, and sizes of another payload as unfit', () => {
  const hints = poolHints([agent(4)], [waiting(3, 1, { payloadType: 'x.Other' })], [], 10_000);
  expect(
    hints.map(({ pool, leasesWaiting, leasesNobodyCanTake }) => [pool, leasesWaiting, leasesNobodyCanTake]),
  ).toEqual([
    [undefined, 0, 0],
    ['Build', 3, 3],
  ]);
  expect(hints[1]?.sizes[0]).toMatchObject({ leasesFitting: 0, agentsNeeded: 0 });
});
