import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { AgentOffer } from './agent-offer.ts';
import { capacityFor } from './capacity-for.ts';
import { match } from './match.ts';
import { propertiesFrom } from './properties.ts';
import { requirementsKey, type Requirements } from './requirements.ts';

const amounts = fc.dictionary(fc.constantFrom('cores', 'ramMb', 'licence'), fc.integer({ min: 0, max: 5 }));
const requirementSets: fc.Arbitrary<Requirements> = fc.record(
  {
    pool: fc.constantFrom('a', 'A', 'b'),
    condition: fc.constantFrom('os == linux', 'OS=="LINUX"', 'gpu && os', 'os && gpu', 'ram >= 1kb', 'ram >= 1024'),
    resources: amounts,
    exclusive: fc.boolean(),
  },
  { requiredKeys: [] },
);
const offers: fc.Arbitrary<AgentOffer> = fc
  .record({
    pools: fc.subarray(['a', 'b']),
    properties: fc.subarray(['os=linux', 'gpu', 'ram=1kb']).map(propertiesFrom),
    slotsTotal: fc.integer({ min: 0, max: 4 }),
    slotsFree: fc.integer({ min: 0, max: 4 }),
    resourcesTotal: amounts,
    resourcesFree: amounts,
    idle: fc.boolean(),
    exclusivelyHeld: fc.boolean(),
  })
  .map((offer) => ({
    ...offer,
    agentId: 'agent',
    hasSession: true,
    enabled: true,
    inDowntime: false,
    stopping: false,
    healthy: true,
    busy: false,
    draining: false,
  }));

test('requirements with equal keys fit the same agents in the same number', () => {
  fc.assert(
    fc.property(requirementSets, requirementSets, offers, (a, b, offer) => {
      if (requirementsKey(a) !== requirementsKey(b)) return;
      expect(match(a, offer).fits).toBe(match(b, offer).fits);
      expect(capacityFor(a, offer)).toBe(capacityFor(b, offer));
    }),
    { numRuns: 3000 },
  );
});

test('what fits has capacity, and still fits where there is more', () => {
  fc.assert(
    fc.property(requirementSets, offers, amounts, (requirements, offer, extra) => {
      if (!match(requirements, offer).fits) return;
      expect(capacityFor(requirements, offer)).toBeGreaterThan(0);
      const plus = (resources: AgentOffer['resourcesFree']) =>
        Object.fromEntries(
          [...new Set([...Object.keys(resources), ...Object.keys(extra)])].map((name) => [
            name,
            (resources[name] ?? 0) + (extra[name] ?? 0),
          ]),
        );
      const more = {
        ...offer,
        slotsFree: offer.slotsFree + 1,
        resourcesTotal: plus(offer.resourcesTotal),
        resourcesFree: plus(offer.resourcesFree),
      };
      expect(match(requirements, more)).toEqual({ fits: true });
      expect(capacityFor(requirements, more)).toBeGreaterThanOrEqual(capacityFor(requirements, offer));
    }),
    { numRuns: 1000 },
  );
});

test('asking for less never fits less', () => {
  fc.assert(
    fc.property(requirementSets, offers, (requirements, offer) => {
      const less = { ...requirements, condition: undefined, pool: undefined, resources: {} };
      if (match(requirements, offer).fits) expect(match(less, offer)).toEqual({ fits: true });
    }),
  );
});
