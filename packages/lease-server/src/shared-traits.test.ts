import type { AgentTraits } from '@drover/task-sources';
import { expect, test } from 'vitest';
import { SharedTraits } from './shared-traits.ts';

const traits = (hostname: string): AgentTraits => ({
  agentId: hostname,
  properties: new Map([
    ['os', ['linux']],
    ['hostname', [hostname]],
    ['tools', ['gcc', 'clang']],
  ]),
  pools: ['linux'],
  poolsAsked: [],
  ephemeral: false,
  resourcesTotal: { cores: 4 },
  payloadTypes: ['x.Work'],
  leasesMax: 4,
});

test('agents that say the same hold the same, and nothing of what they say changes', () => {
  const shared = new SharedTraits();
  const [a, b] = [shared.share(traits('a')), shared.share(traits('b'))];
  expect(a).toEqual(traits('a'));
  expect(b).toEqual(traits('b'));
  for (const name of ['os', 'tools']) expect(b.properties.get(name)).toBe(a.properties.get(name));
  expect(b.resourcesTotal).toBe(a.resourcesTotal);
  expect(b.pools).toBe(a.pools);
  expect(b.payloadTypes).toBe(a.payloadTypes);
});

test('values of different kinds are not mistaken for each other', () => {
  const shared = new SharedTraits();
  const odd: AgentTraits = { ...traits('a'), properties: new Map([['["x"]', ['{"cores":4}']]]), pools: ['x'] };
  expect(shared.share(odd)).toEqual(odd);
});
