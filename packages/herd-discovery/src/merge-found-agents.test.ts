import type { FoundAgent } from '@drover/herd-protocol';
import { expect, test } from 'vitest';
import { parseAgentHost } from './agent-host.ts';
import { mergeFoundAgents } from './merge-found-agents.ts';

const found = (over: Partial<FoundAgent>): FoundAgent => ({
  agentId: 'agent-1',
  protocol: 'drover',
  name: 'build-1',
  addresses: [{ host: '10.1.0.1', port: 7614 }],
  availability: 'available',
  version: '1',
  architecture: 'linux-x64',
  processors: 8,
  slots: { total: 7, free: 7 },
  ram: { total: 1, free: 1 },
  load: 0,
  gpus: [],
  pools: [],
  trusted: false,
  ...over,
});

test('the later reply counts; addresses of both stay, each once, the first first', () => {
  const before = found({ roundTripMs: 3, key: Uint8Array.of(1) });
  const later = found({
    addresses: [
      { host: '10.2.0.1', port: 7614 },
      { host: '10.1.0.1', port: 7614 },
    ],
    slots: { total: 7, free: 2 },
    roundTripMs: 9,
    trusted: true,
  });
  expect(mergeFoundAgents(before, later)).toMatchObject({
    addresses: [
      { host: '10.1.0.1', port: 7614 },
      { host: '10.2.0.1', port: 7614 },
    ],
    slots: { free: 2 },
    roundTripMs: 3,
    trusted: true,
    key: Uint8Array.of(1),
  });
});

test('another id or another key is another agent', () => {
  expect(mergeFoundAgents(found({}), found({ agentId: 'agent-2' }))).toBeUndefined();
  const [one, two] = [found({ key: Uint8Array.of(1) }), found({ key: Uint8Array.of(2) })];
  expect(mergeFoundAgents(one, two)).toBeUndefined();
});

test('one agent has eight addresses at most', () => {
  let agent = found({});
  for (let n = 2; n < 50; n += 1) {
    agent = mergeFoundAgents(agent, found({ addresses: [{ host: `10.1.0.${n}`, port: 1 }] }))!;
  }
  expect(agent.addresses).toHaveLength(8);
});

test.each([
  ['build-7.lan', 'build-7.lan', 7614],
  ['build-7:99', 'build-7', 99],
  ['10.1.2.3:65535', '10.1.2.3', 65_535],
  ['fe80::1%eth0', 'fe80::1%eth0', 7614],
  ['::1', '::1', 7614],
  ['[2001:db8::1]:5', '2001:db8::1', 5],
  ['[::1]', '::1', 7614],
])('%s is %s, port %i', (text, host, port) => {
  expect(parseAgentHost(text, 7614)).toEqual({ host, port });
});
