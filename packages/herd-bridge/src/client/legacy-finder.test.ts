import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import type { AgentFinder, FindOptions, FoundAgent } from '@drover/herd-protocol';
import { expect, test } from 'vitest';
import { broadcastAddressOf } from './broadcast-sources.ts';
import { createLegacyFinder, type LegacyHost } from './legacy-finder.ts';
import { descriptionOf, OriginalAgent } from './original-agent.test.fixture.ts';

async function allOf(finder: AgentFinder, options?: FindOptions): Promise<FoundAgent[]> {
  const found: FoundAgent[] = [];
  for await (const agent of finder.find(options)) found.push(agent);
  return found;
}

function agentAt(host: string, description: string): Promise<OriginalAgent> {
  return OriginalAgent.start({ host, describe: () => description, run: () => Promise.resolve(new Map()) });
}

function hostOf({ host, discoveryPort, jobPort }: OriginalAgent): LegacyHost {
  return { host, discoveryPort, jobPort };
}

test('a genuine description, and one of an older agent', async () => {
  await using newer = await agentAt('127.0.61.1', descriptionOf('available'));
  await using older = await agentAt(
    '127.0.61.2',
    '<HerdAgent><NumberOfProcessors>8</NumberOfProcessors><ProcessorArchitecture>AMD64</ProcessorArchitecture>' +
      '<ProcessorLoad>3,723242</ProcessorLoad><Memory>2Gb</Memory><CudaInfo>9.1</CudaInfo><State>busy</State><Room>B12</Room></HerdAgent>',
  );
  const found = await allOf(createLegacyFinder({ broadcast: false, hosts: [newer, older].map(hostOf) }));
  found.sort((left, right) => left.agentId.localeCompare(right.agentId));
  const roundTripMs = expect.any(Number) as number;
  expect(found).toEqual([
    {
      agentId: 'legacy:127.0.61.1',
      protocol: 'legacy',
      name: '127.0.61.1',
      addresses: [{ host: '127.0.61.1', port: newer.jobPort }],
      availability: 'available',
      version: '1.5.0.0',
      architecture: 'linux-x64',
      processors: 2,
      slots: { total: 2, free: 2 },
      ram: { total: 24106 * 1024 ** 2, free: 24106 * 1024 ** 2 },
      load: expect.closeTo(0.08522391) as number,
      gpus: [],
      pools: [],
      trusted: false,
      roundTripMs,
    },
    {
      agentId: 'legacy:127.0.61.2',
      protocol: 'legacy',
      name: '127.0.61.2',
      addresses: [{ host: '127.0.61.2', port: older.jobPort }],
      availability: 'busy',
      version: '',
      architecture: 'win32-x64',
      processors: 8,
      slots: { total: 8, free: 0 },
      ram: { total: 2 * 1024 ** 3, free: 2 * 1024 ** 3 },
      load: expect.closeTo(0.03723242) as number,
      gpus: ['CUDA 9.1'],
      pools: [],
      trusted: false,
      roundTripMs,
      extra: { Room: 'B12' },
    },
  ]);
});

test.each([
  ['available', 'available'],
  ['busy', 'busy'],
  ['cancelling', 'busy'],
  ['N/A', 'closed'],
  ['Available', 'closed'],
])('state %s is %s', async (state, availability) => {
  await using agent = await agentAt('127.0.61.3', descriptionOf(state));
  const [found] = await allOf(createLegacyFinder({ broadcast: false, hosts: [hostOf(agent)] }));
  expect(found?.availability).toBe(availability);
});

test.each([
  'At your command',
  '<Other/>',
  '<HerdAgent><State>available</HerdAgent>',
  ' <HerdAgent/>',
  'x'.repeat(9000),
])('what is no description is noted: %.40s', async (text) => {
  await using agent = await agentAt('127.0.61.4', text);
  const notes: string[] = [];
  const finder = createLegacyFinder(
    { broadcast: false, hosts: [hostOf(agent)] },
    { onNote: (note) => notes.push(note) },
  );
  expect(await allOf(finder, { timeoutMs: 60 })).toEqual([]);
  expect(notes[0]).toMatch(/127\.0\.61\.4:\d+ answered is not from an original agent/);
});

test('by broadcast on an interface, from another port where the usual one is taken', async () => {
  await using agent = await agentAt('0.0.0.0', descriptionOf('available'));
  const taken = createSocket('udp4');
  taken.bind({ port: 0, address: '127.0.0.1', exclusive: true });
  await once(taken, 'listening');
  const notes: string[] = [];
  const finder = createLegacyFinder(
    {
      from: ['127.0.0.1'],
      directedBroadcast: true,
      discoveryPort: agent.discoveryPort,
      clientPort: taken.address().port,
      jobPort: 77,
    },
    { onNote: (note) => notes.push(note) },
  );
  const found = await allOf(finder, { timeoutMs: 100 });
  taken.close();
  expect(found.map(({ addresses }) => addresses)).toEqual([[{ host: '127.0.0.1', port: 77 }]]);
  expect(notes).toEqual([expect.stringContaining('cannot be bound, another is asked from')]);
});

test('an agent is told of again when it becomes busy', async () => {
  await using agent = await OriginalAgent.start({ host: '127.0.61.5', run: () => Promise.resolve(new Map()) });
  // Somebody else who never answers, so that the search goes on.
  const hosts = [hostOf(agent), { host: '127.0.61.6', discoveryPort: 9 }];
  const states: string[] = [];
  for await (const { availability } of createLegacyFinder({ broadcast: false, hosts }).find({ timeoutMs: 200 })) {
    states.push(availability);
    agent.beBusy();
  }
  expect(states).toEqual(['available', 'busy']);
});

test('a search ends at once when it is aborted, and does not begin where nobody can be asked', async () => {
  const controller = new AbortController();
  const hosts = [{ host: '127.0.61.7', discoveryPort: 9 }];
  const search = allOf(createLegacyFinder({ broadcast: false, hosts }), {
    timeoutMs: 60_000,
    signal: controller.signal,
  });
  controller.abort();
  expect(await search).toEqual([]);
  await expect(allOf(createLegacyFinder({ from: ['192.0.2.1'] }))).rejects.toMatchObject({
    code: 'NO_INTERFACE',
    message: expect.stringContaining('no interface has the name or address 192.0.2.1') as string,
  });
  const many = Array.from({ length: 1025 }, () => ({ host: '127.0.0.1' }));
  expect(() => createLegacyFinder({ hosts: many })).toThrow(expect.objectContaining({ code: 'HERD_HOSTS_TOO_MANY' }));
});

test.each([
  ['10.1.2.3', '255.255.255.0', '10.1.2.255'],
  ['10.1.2.3', '255.255.240.0', '10.1.15.255'],
  ['10.1.2.3', '255.255.255.254', undefined],
  ['10.1.2.3', '255.255.255.255', undefined],
])('the broadcast address of %s in %s', (address, netmask, expected) => {
  expect(broadcastAddressOf(address, netmask)).toBe(expected);
});
