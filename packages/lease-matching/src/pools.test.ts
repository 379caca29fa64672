import { describe, expect, test } from 'vitest';
import { definePools, effectivePools } from './pools.ts';
import { propertiesFrom } from './properties.ts';

const pools = definePools([
  { name: 'linux', condition: 'os == linux' },
  { name: 'chosen', agents: ['agent-1', 'agent-2'] },
  { name: 'both', agents: ['agent-1'], condition: 'os == windows' },
]);

describe('pools', () => {
  test.each([
    ['agent-1', 'os=linux', ['linux', 'chosen', 'both']],
    ['agent-3', 'os=Windows', ['both']],
    ['agent-3', 'os=darwin', []],
  ])('%s with %s is in %j', (agentId, property, expected) => {
    expect(effectivePools({ agentId, properties: propertiesFrom([property]) }, pools)).toEqual(expected);
  });

  test('a wish and a property count in allowed pools alone, the list of an operator everywhere; each pool once', () => {
    const member = { agentId: 'agent-1', properties: propertiesFrom(['os=linux']), asked: ['Linux', 'own', 'OWN'] };
    expect(effectivePools(member, pools)).toEqual(['linux', 'own', 'chosen', 'both']);
    expect(effectivePools({ ...member, allowed: ['own'] }, pools)).toEqual(['own', 'chosen', 'both']);
    expect(effectivePools({ ...member, allowed: [] }, pools)).toEqual(['chosen', 'both']);
    expect(effectivePools({ ...member, allowed: ['LINUX'] }, pools)).toEqual(['linux', 'chosen', 'both']);
  });

  test.each([
    [[{ name: ' ', agents: [] }], '1 to 64'],
    [[{ name: 'a' }], 'names nobody'],
    [
      [
        { name: 'a', agents: [] },
        { name: 'A', agents: [] },
      ],
      'twice',
    ],
    [[{ name: 'a', condition: 'os ==' }], 'column 6'],
    [[{ name: 'a', agents: [], weights: { ann: 3 } }], 'user:NAME'],
    [[{ name: 'a', agents: [], weights: { 'user:': 3 } }], 'user:NAME'],
    [[{ name: 'a', agents: [], weights: { 'user:ann': 0 } }], '0.01 to 1000'],
    [[{ name: 'a', agents: [], weights: { 'user:ann': Number.NaN } }], '0.01 to 1000'],
    [[{ name: 'a', agents: [], weights: { 'user:ann': 1_000.5 } }], '0.01 to 1000'],
    [
      [
        {
          name: 'a',
          agents: [],
          weights: Object.fromEntries(Array.from({ length: 257 }, (_, at) => [`user:${at}`, 1])),
        },
      ],
      'at most 256',
    ],
  ])('refuses what makes no sense (%#)', (definitions, part) => {
    expect(() => definePools(definitions)).toThrow(
      expect.objectContaining({ code: 'POOL_INVALID', message: expect.stringContaining(part) }),
    );
  });
});
