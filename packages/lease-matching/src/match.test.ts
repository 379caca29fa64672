import { describe, expect, test } from 'vitest';
import type { AgentOffer } from './agent-offer.ts';
import { capacityFor } from './capacity-for.ts';
import { match, mismatchCodes, type MismatchCode } from './match.ts';
import { propertiesFrom } from './properties.ts';
import type { Requirements } from './requirements.ts';

const free: AgentOffer = {
  agentId: 'agent-1',
  pools: ['Linux', 'gpu'],
  properties: propertiesFrom(['os=linux']),
  slotsTotal: 4,
  slotsFree: 4,
  resourcesTotal: { Cores: 8, ramMb: 16384 },
  resourcesFree: { Cores: 8, ramMb: 16384 },
  idle: true,
  exclusivelyHeld: false,
  hasSession: true,
  enabled: true,
  inDowntime: false,
  stopping: false,
  healthy: true,
  busy: false,
  draining: false,
};

const misfits: [MismatchCode, Requirements, Partial<AgentOffer>, string][] = [
  ['NO_SESSION', {}, { hasSession: false }, 'is not connected'],
  ['DISABLED', {}, { enabled: false }, 'is disabled'],
  ['IN_DOWNTIME', {}, { inDowntime: true }, 'is in scheduled downtime'],
  [
    'SUSPECTED',
    {},
    { withheld: 'suspected' },
    'is suspected to fail leases that succeed elsewhere; a canary is to decide',
  ],
  ['HEALTH_QUARANTINED', {}, { withheld: 'quarantined' }, 'is quarantined: it fails leases that succeed elsewhere'],
  ['STOPPING', {}, { stopping: true }, 'is going down'],
  ['UNHEALTHY', {}, { healthy: false }, 'reports that it is unhealthy'],
  ['BUSY', {}, { busy: true }, 'is busy: the machine is needed for something else'],
  ['DRAINING', {}, { draining: true }, 'takes nothing new until it is idle'],
  ['NOT_IN_POOL', { pool: 'windows' }, {}, 'needs pool windows, is in pool Linux, gpu'],
  ['CONDITION_FALSE', { condition: 'os == windows' }, {}, 'condition `os == windows` is false: os is linux'],
  ['TOO_SMALL', { resources: { cores: 16 } }, {}, 'needs 16 cores, has 8'],
  ['HELD_EXCLUSIVELY', {}, { exclusivelyHeld: true }, 'runs a lease that has it for itself'],
  ['NOT_IDLE', { exclusive: true }, { idle: false }, 'needs an idle agent, other work is running'],
  ['NO_FREE_SLOT', {}, { slotsFree: 0 }, 'needs 1 slot, all 4 are in use'],
  ['TOO_LITTLE_FREE', { resources: { cores: 6 } }, { resourcesFree: { Cores: 4 } }, 'needs 6 cores, has 4 of 8 free'],
];

describe('match', () => {
  test('an agent that has everything fits', () => {
    const requirements = {
      pool: 'LINUX',
      condition: 'os == linux',
      resources: { cores: 8, licences: 0 },
      exclusive: true,
    };
    expect(match(requirements, free)).toEqual({ fits: true });
  });

  test.each(misfits)('%s', (code, requirements, offer, message) => {
    expect(match(requirements, { ...free, ...offer })).toMatchObject({ fits: false, reason: { code, message } });
  });

  test('reasons come in the documented order', () => {
    expect(misfits.map(([code]) => code)).toEqual(mismatchCodes);
    // Everything is wrong; then the first reason is mended, and the next one shows, down to the last.
    for (let from = 0; from < misfits.length; from++) {
      const rest = misfits.slice(from);
      const requirements = Object.assign({}, ...rest.map(([, part]) => part).reverse()) as Requirements;
      const offer = Object.assign({}, free, ...rest.map(([, , part]) => part).reverse()) as AgentOffer;
      expect(match(requirements, offer)).toMatchObject({ reason: { code: misfits[from]?.[0] } });
    }
  });

  test('a source may be allowed to reach agents that others may not', () => {
    const offer = { ...free, enabled: false, inDowntime: true, draining: true };
    expect(match({}, offer, { whenDisabled: true, inDowntime: true, whenDraining: true })).toEqual({ fits: true });
  });

  test('only pool, condition and size are lasting', () => {
    const codes = misfits
      .filter(([, requirements, offer]) => {
        const result = match(requirements, { ...free, ...offer });
        return !result.fits && result.reason.lasting;
      })
      .map(([code]) => code);
    expect(codes).toEqual(['NOT_IN_POOL', 'CONDITION_FALSE', 'TOO_SMALL']);
  });
});

describe('capacityFor', () => {
  test.each([
    [{}, free, 4],
    [{ resources: { cores: 3 } }, free, 2],
    [{ resources: { cores: 9 } }, free, 0],
    [{ resources: { absent: 1 } }, free, 0],
    [{ exclusive: true }, free, 1],
    [{ exclusive: true }, { ...free, idle: false }, 0],
    [{}, { ...free, exclusivelyHeld: true }, 0],
    [{}, { ...free, slotsFree: -1 }, 0],
  ])('%j fits that often (%#)', (requirements, offer, expected) => {
    expect(capacityFor(requirements, offer)).toBe(expected);
  });
});
