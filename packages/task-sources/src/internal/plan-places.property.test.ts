import fc from 'fast-check';
import type { AgentView, LeaseRequirements } from '@drover/lease-kit';
import type { WaitingClass } from '@drover/lease-store';
import { expect, test } from 'vitest';
import { BarrenClaims } from './barren-claims.ts';
import { ClassFit } from './class-fit.ts';
import { FreePlace } from './free-place.ts';
import { planPlaces, spreadPlaces } from './plan-places.ts';

const requirements: fc.Arbitrary<LeaseRequirements> = fc.record({
  resources: fc.record({ cores: fc.nat(6), ram: fc.nat(20) }),
  exclusive: fc.boolean(),
});
const classes = fc.array(requirements, { minLength: 1, maxLength: 6 }).map((list) =>
  list.map((wanted, index): WaitingClass => ({
    classId: index + 1,
    requirements: wanted,
    payloadType: 'x.Work',
    submitter: '',
    priorityMax: 0,
    priorityMin: 0,
    ageMsMax: 0,
  })),
);
const agents = fc
  .array(fc.record({ cores: fc.nat(16), ram: fc.nat(60), leasesFree: fc.nat(20), idle: fc.boolean() }), {
    minLength: 1,
    maxLength: 5,
  })
  .map((list) =>
    list.map(({ cores, ram, leasesFree, idle }, index): AgentView => ({
      agentId: `a${index}`,
      epoch: 1,
      properties: new Map(),
      pools: [],
      resourcesTotal: { cores, ram },
      resourcesFree: { cores, ram },
      leasesFree,
      idle,
      payloadTypes: ['x.Work'],
    })),
  );

test('whatever class the leases of a claim turn out to be of, no agent is overcommitted', () => {
  fc.assert(
    fc.property(classes, agents, fc.infiniteStream(fc.nat(1_000)), (waiting, views, choices) => {
      const places = views.map((view) => new FreePlace(view));
      const byId = new Map(waiting.map((item) => [item.classId, item]));
      const given = new Map<string, LeaseRequirements[]>();
      for (const group of planPlaces(places, waiting, new ClassFit(), new BarrenClaims(), 1_024)) {
        for (const place of spreadPlaces(group, 1_024)) {
          const choice = group.classIds[choices.next().value! % group.classIds.length]!;
          const list = given.get(place.view.agentId) ?? [];
          given.set(place.view.agentId, [...list, byId.get(choice)!.requirements]);
        }
      }
      for (const view of views) {
        const list = given.get(view.agentId) ?? [];
        const sum = (name: string): number => list.reduce((total, { resources }) => total + resources![name]!, 0);
        expect(list.length).toBeLessThanOrEqual(view.leasesFree);
        expect(sum('cores')).toBeLessThanOrEqual(view.resourcesFree['cores']!);
        expect(sum('ram')).toBeLessThanOrEqual(view.resourcesFree['ram']!);
        if (list.some(({ exclusive }) => exclusive)) {
          expect(view.idle).toBe(true);
          expect(list).toHaveLength(1);
        }
      }
    }),
  );
});

test('an agent that some waiting class fits gets at least one place', () => {
  fc.assert(
    fc.property(classes, agents, (waiting, views) => {
      const planned = planPlaces(
        views.map((view) => new FreePlace(view)),
        waiting,
        new ClassFit(),
        new BarrenClaims(),
        1_024,
      );
      const served = new Set(planned.flatMap(({ agents: list }) => list.map(({ place }) => place.view.agentId)));
      for (const view of views) {
        const fits = waiting.some(({ requirements: wanted }) => new FreePlace(view).capacity(wanted) > 0);
        expect(served.has(view.agentId)).toBe(fits);
      }
    }),
  );
});
