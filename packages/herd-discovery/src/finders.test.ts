import { create, toBinary } from '@bufbuild/protobuf';
import { AgentAnnouncementSchema, type AgentFinder, type FoundAgent } from '@drover/herd-protocol';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, describe, expect, test } from 'vitest';
import { searchAgents, type Targets } from './agent-search.ts';
import { decodeRequest, encodeReply, signedBytes } from './discovery-wire.ts';
import type { DiscoverySigner } from './discovery-responder.ts';
import { firstOf } from './first-of.ts';
import { createLanFinder } from './lan-finder.ts';
import { mergeOf } from './merge-of.ts';
import type { SearchEvent } from './search-events.ts';
import { createStaticFinder } from './static-finder.ts';
import { startTestAgent, testDescription, testSigner } from './test-agent.fixture.ts';
import { openUdpSocket } from './udp-socket.ts';

const opened: (Socket | AsyncDisposable)[] = [];
afterEach(async () => {
  for (const one of opened.splice(0)) {
    if ('close' in one) await new Promise<void>((resolve) => void one.close(() => resolve()));
    else await one[Symbol.asyncDispose]();
  }
});

/** One that answers nothing. */
const udpSocketAt = async (host: string): Promise<Socket> => {
  const socket = await openUdpSocket({ host, port: 0, shared: false });
  opened.push(socket);
  return socket;
};
const agent = async (...args: Parameters<typeof startTestAgent>): ReturnType<typeof startTestAgent> => {
  const started = await startTestAgent(...args);
  opened.push(started);
  return started;
};
const all = async (finder: AgentFinder, timeoutMs = 1_000, signal?: AbortSignal): Promise<readonly FoundAgent[]> => {
  const found = new Map<string, FoundAgent>();
  for await (const one of finder.find({ timeoutMs, signal })) found.set(one.agentId, one);
  return [...found.values()];
};
/** A socket that answers each request with what `answers` makes of it. */
async function rogue(answers: (request: Buffer, nonce: Uint8Array) => readonly Uint8Array[], host = '127.0.0.1') {
  const socket = await openUdpSocket({ host, port: 0, shared: false });
  opened.push(socket);
  socket.on('message', (datagram, { port, address }) => {
    const request = decodeRequest(datagram);
    if (request === undefined) return;
    for (const answer of answers(datagram, request.nonce)) socket.send(answer, port, address);
  });
  return socket.address().port;
}
function replyOf(agentId: string, signer: DiscoverySigner, nonce: Uint8Array, over: object = {}): Buffer {
  const announcement = toBinary(
    AgentAnnouncementSchema,
    create(AgentAnnouncementSchema, {
      ...testDescription(agentId),
      protocol: 1,
      protocolNewest: 1,
      key: signer.publicKey,
      ...over,
    }),
  );
  return encodeReply({ nonce, announcement, signature: signer.sign(signedBytes(nonce, announcement)) });
}
const dropsOf = (events: readonly SearchEvent[]): readonly string[] =>
  events.flatMap((event) => (event.type === 'dropped' ? [event.reason] : []));

describe('on the loopback interface', () => {
  test('agents that share a port are all found by one broadcast, whom one knows are trusted', async () => {
    const signer = testSigner();
    const first = await agent('agent-1', { port: 0, hosts: ['0.0.0.0'] }, { signer });
    const { port } = first;
    await agent('agent-2', { port, hosts: ['0.0.0.0'] }, { pools: ['windows'] });
    await agent('agent-3', { port, hosts: ['0.0.0.0'] });
    const knownAgents = { keyOf: (id: string) => (id === 'agent-1' ? signer.publicKey : undefined) };
    const found = await all(createLanFinder({ port, interfaces: ['lo'] }, { knownAgents }), 300);
    expect(found.map(({ agentId }) => agentId).sort()).toEqual(['agent-1', 'agent-2', 'agent-3']);
    expect(found.find(({ agentId }) => agentId === 'agent-1')).toMatchObject({
      protocol: 'drover',
      name: 'host-of-agent-1',
      addresses: [{ host: '127.0.0.1', port: 7614 }],
      availability: 'available',
      version: '1.2.3',
      architecture: 'linux-x64',
      processors: 8,
      slots: { total: 7, free: 5 },
      ram: { total: 16e9, free: 8e9 },
      load: 0.25,
      gpus: ['RTX 6000'],
      pools: ['linux', 'render'],
      certificateSha256: '07'.repeat(32),
      trusted: true,
      roundTripMs: expect.any(Number) as number,
    });
    expect(found.filter(({ trusted }) => trusted)).toHaveLength(1);
  });

  test('an agent that answers by IPv4 and IPv6 is one with two addresses', async () => {
    const { port } = await agent('agent-1', { port: 0, hosts: ['0.0.0.0'] });
    // The same agent again, at the other family.
    const signer = testSigner();
    const both = await agent('agent-2', { port, hosts: ['0.0.0.0', '::'] }, { signer });
    expect(both.listening).toHaveLength(2);
    const found = await all(createLanFinder({ port, interfaces: ['lo'] }), 300);
    const hosts = found.find(({ agentId }) => agentId === 'agent-2')?.addresses.map(({ host }) => host);
    expect([...(hosts ?? [])].sort()).toEqual(['127.0.0.1', '::1']);
    expect(found).toHaveLength(2);
  });

  test('an agent that listens at one address is found by the broadcast of its network', async () => {
    const { port } = await agent('agent-1', { port: 0, hosts: ['127.0.0.1'] });
    const other = await agent('agent-2', { port, hosts: ['127.0.0.1'] });
    expect(other.listening).toHaveLength(1);
    // One datagram to the address itself would reach one of the two alone.
    const found = await all(createLanFinder({ port, interfaces: ['lo'] }), 300);
    expect(found.map(({ agentId }) => agentId).sort()).toEqual(['agent-1', 'agent-2']);
  });

  test('an interface that is not there is an error that names it', async () => {
    await expect(all(createLanFinder({ interfaces: ['nowhere0'] }))).rejects.toMatchObject({
      code: 'NO_INTERFACE',
      message: expect.stringContaining('nowhere0') as string,
    });
    await expect(all(createLanFinder({}, { interfaces: () => [] }))).rejects.toMatchObject({ code: 'NO_INTERFACE' });
  });
});

describe('by a list of hosts', () => {
  test('each is asked where it is, and the search ends when all have answered', async () => {
    const one = await agent('agent-1', { port: 0, hosts: ['127.0.0.5'] });
    const two = await agent('agent-2', { port: 0, hosts: ['::1'] });
    const finder = createStaticFinder({ hosts: [`127.0.0.5:${one.port}`, `[::1]:${two.port}`] });
    const before = performance.now();
    const found = await all(finder, 10_000);
    expect(performance.now() - before).toBeLessThan(5_000);
    expect(found.map(({ agentId, addresses }) => [agentId, addresses[0]!.host]).sort()).toEqual([
      ['agent-1', '127.0.0.5'],
      ['agent-2', '::1'],
    ]);
  });

  test('several agents of one machine are waited for', async () => {
    const [one, two] = [await agent('agent-1', { port: 0, hosts: ['127.0.0.5'] }), await udpSocketAt('127.0.0.5')];
    const { port } = two.address();
    const events: SearchEvent[] = [];
    const hosts = [`127.0.0.5:${one.port}`, `127.0.0.5:${port}`];
    const found = await all(createStaticFinder({ hosts }, { onEvent: (event) => events.push(event) }), 400);
    expect(found.map(({ agentId }) => agentId)).toEqual(['agent-1']);
    expect(events).toContainEqual({ type: 'silent', host: '127.0.0.5', port });
  });

  test('a host is kept by the name that it was asked by; who is silent or has no address is told', async () => {
    const { port } = await agent('agent-1', { port: 0, hosts: ['127.0.0.1'] });
    const silent = await udpSocketAt('127.0.0.1');
    const events: SearchEvent[] = [];
    const hosts = [`localhost:${port}`, `127.0.0.1:${silent.address().port}`, 'no-such-host.invalid'];
    const found = await all(createStaticFinder({ hosts }, { onEvent: (event) => events.push(event) }), 400);
    expect(found.map(({ addresses }) => addresses)).toEqual([[{ host: 'localhost', port: 7614 }]]);
    expect(events).toContainEqual({ type: 'silent', host: '127.0.0.1', port: silent.address().port });
    expect(events.some((event) => event.type === 'unresolved' && event.host === 'no-such-host.invalid')).toBe(true);
  });

  test('requests that are lost are sent again', async () => {
    const { port } = await agent('agent-1', { port: 0, hosts: ['127.0.0.1'] });
    // A network that loses the first two requests and the first reply.
    let lost = 0;
    const relay = createSocket('udp4');
    opened.push(relay);
    let asker = { port: 0, address: '' };
    relay.on('message', (datagram, from) => {
      const isRequest = from.port !== port;
      if (isRequest) asker = from;
      if (lost++ < 3) return;
      if (isRequest) relay.send(datagram, port, '127.0.0.1');
      else relay.send(datagram, asker.port, asker.address);
    });
    relay.bind(0, '127.0.0.1');
    await once(relay, 'listening');
    const found = await all(createStaticFinder({ hosts: [`127.0.0.1:${relay.address().port}`] }), 1_000);
    expect(found.map(({ agentId }) => agentId)).toEqual(['agent-1']);
    expect(lost).toBeGreaterThan(3);
  });

  test.each(['', 'a b', 'host:0', 'host:65536', 'host:x', '[::1', '[host]:7', '::1:99999', 'x'.repeat(300), 'a/b'])(
    '%j is no host',
    (host) => {
      expect(() => createStaticFinder({ hosts: [host] })).toThrow(
        expect.objectContaining({ code: 'AGENT_HOST_INVALID' }),
      );
    },
  );

  test('a list has a bound', () => {
    const hosts = Array.from({ length: 257 }, (_, n) => `host-${n}`);
    expect(() => createStaticFinder({ hosts })).toThrow(expect.objectContaining({ code: 'AGENT_HOSTS_TOO_MANY' }));
  });
});

describe('what is not to be believed', () => {
  const known = testSigner();
  const stranger = testSigner();
  const knownAgents = { keyOf: (id: string) => (id === 'ours' ? known.publicKey : undefined) };
  const search = async (answers: Parameters<typeof rogue>[0]) => {
    const events: SearchEvent[] = [];
    const port = await rogue(answers);
    const finder = createStaticFinder(
      { hosts: [`127.0.0.1:${port}`] },
      { knownAgents, onEvent: (event) => events.push(event) },
    );
    return { found: await all(finder, 250), drops: dropsOf(events), events };
  };

  test('a reply in the name of an agent that one is paired with, by another key', async () => {
    const { found, drops } = await search((_, nonce) => [replyOf('ours', stranger, nonce)]);
    expect(found).toEqual([]);
    expect(new Set(drops)).toEqual(new Set(['forged']));
  });

  test('a reply whose signature does not fit what it says', async () => {
    const { found, drops } = await search((_, nonce) => {
      const torn = replyOf('theirs', stranger, nonce);
      torn[torn.length - 1]! ^= 1;
      return [torn];
    });
    expect(found).toEqual([]);
    expect(new Set(drops)).toEqual(new Set(['forged']));
  });

  test('a reply of an earlier search, as it was or with this one’s nonce', async () => {
    const recorded = new Uint8Array(16).fill(9);
    const replayed = replyOf('ours', known, recorded);
    const { found, drops } = await search((_, nonce) => {
      const renamed = Buffer.from(replayed);
      renamed.set(nonce, renamed.indexOf(Buffer.from(recorded)));
      return [replayed, renamed];
    });
    expect(found).toEqual([]);
    expect(new Set(drops)).toEqual(new Set(['unasked', 'forged']));
  });

  test('a reply that comes twice counts once', async () => {
    const { found, drops } = await search((_, nonce) => {
      const reply = replyOf('ours', known, nonce);
      return [reply, reply];
    });
    expect(found).toMatchObject([{ agentId: 'ours', trusted: true }]);
    expect(drops.every((reason) => reason === 'replayed')).toBe(true);
  });

  test('a forged reply does not keep the genuine one out', async () => {
    const { found, drops } = await search((_, nonce) => [
      replyOf('ours', stranger, nonce),
      replyOf('ours', known, nonce),
    ]);
    expect(found).toMatchObject([{ agentId: 'ours', trusted: true }]);
    expect(drops).toContain('forged');
  });

  test('what is too large, or no reply, or says what cannot be', async () => {
    const { found, drops } = await search((request, nonce) => [
      Buffer.concat([replyOf('a', stranger, nonce), Buffer.alloc(1_200)]),
      request,
      Buffer.from('DRVHRD\u0002'),
      replyOf('an id with spaces', stranger, nonce),
      replyOf('legacy:10.0.0.1', stranger, nonce),
      replyOf('a', stranger, nonce, { port: 70_000 }),
      replyOf('a', stranger, nonce, { certificateSha256: new Uint8Array(3) }),
      replyOf('a', stranger, nonce, { protocol: 5 }),
    ]);
    expect(found).toEqual([]);
    expect(new Set(drops)).toEqual(new Set(['too-large', 'malformed']));
  });

  test('two keys that claim one agent: the first stays, the other is told', async () => {
    const other = testSigner();
    const [first, second] = [
      await rogue((_, nonce) => [replyOf('theirs', stranger, nonce)]),
      await rogue((_, nonce) => [replyOf('theirs', other, nonce)], '127.0.0.2'),
    ];
    const events: SearchEvent[] = [];
    const finder = createStaticFinder(
      { hosts: [`127.0.0.1:${first}`, `127.0.0.2:${second}`] },
      { onEvent: (event) => events.push(event) },
    );
    const found = await all(finder, 250);
    expect(found).toHaveLength(1);
    expect(found[0]!.addresses).toHaveLength(1);
    expect(dropsOf(events)).toContain('conflicting');
  });

  test('an agent of another version is told, and not found', async () => {
    const { found, events } = await search((_, nonce) => [
      replyOf('newer', stranger, nonce, { protocol: 0, protocolNewest: 9 }),
    ]);
    expect(found).toEqual([]);
    expect(events).toContainEqual(
      expect.objectContaining({ type: 'other-version', agentId: 'newer', protocolNewest: 9 }),
    );
  });

  test('one that invents agents without end fills no memory', async () => {
    let count = 0;
    const port = await rogue((_, nonce) =>
      Array.from({ length: 40 }, () => replyOf(`invented-${count++}`, stranger, nonce)),
    );
    const events: SearchEvent[] = [];
    const deps = { onEvent: (event: SearchEvent): void => void events.push(event) };
    // A group has no end of members, so that the search goes on.
    const target = { family: 4 as const, to: '127.0.0.1', port };
    const targets: Targets = (ask) => Promise.resolve(ask([target]));
    const found = new Set<string>();
    for await (const { agentId } of searchAgents(targets, { timeoutMs: 200 }, deps, { agentsMax: 10 })) {
      found.add(agentId);
    }
    expect(found.size).toBe(10);
    expect(dropsOf(events)).toContain('too-many');
  });
});

test('a search ends when its signal says so, and at once if that was before', async () => {
  const port = await rogue(() => []);
  const stop = new AbortController();
  const finder = createStaticFinder({ hosts: [`127.0.0.1:${port}`] });
  const searching = all(finder, 60_000, stop.signal);
  stop.abort();
  expect(await searching).toEqual([]);
  expect(await all(finder, 60_000, stop.signal)).toEqual([]);
});

test('who takes the first agent and goes leaves nothing behind', async () => {
  const { port } = await agent('agent-1', { port: 0, hosts: ['0.0.0.0'] });
  for await (const found of createLanFinder({ port, interfaces: ['lo'] }).find({ timeoutMs: 60_000 })) {
    expect(found.agentId).toBe('agent-1');
    break;
  }
});

describe('several finders', () => {
  const failing: AgentFinder = {
    async *find() {
      throw new Error('nothing to ask');
    },
  };

  test('firstOf takes the first that finds anything', async () => {
    const one = await agent('agent-1', { port: 0, hosts: ['127.0.0.1'] });
    const two = await agent('agent-2', { port: 0, hosts: ['127.0.0.1'] });
    const silent = await rogue(() => []);
    const asking = (port: number): AgentFinder => createStaticFinder({ hosts: [`127.0.0.1:${port}`] });
    const found = await all(firstOf([failing, asking(silent), asking(two.port), asking(one.port)]), 200);
    expect(found.map(({ agentId }) => agentId)).toEqual(['agent-2']);
    expect(one.counts().answered).toBe(0);
    await expect(all(firstOf([failing, failing]))).rejects.toThrow('nothing to ask');
    expect(await all(firstOf([failing, asking(silent)]), 100)).toEqual([]);
  });

  test('mergeOf asks all, and an agent that several find is one', async () => {
    const signer = testSigner();
    const one = await agent('agent-1', { port: 0, hosts: ['127.0.0.1'] }, { signer });
    const other = await agent('agent-1', { port: 0, hosts: ['::1'] }, { signer });
    const failures: unknown[] = [];
    const finder = mergeOf(
      [
        failing,
        createStaticFinder({ hosts: [`127.0.0.1:${one.port}`] }),
        createStaticFinder({ hosts: [`[::1]:${other.port}`] }),
      ],
      (error) => failures.push(error),
    );
    const found = await all(finder, 300);
    expect(found).toHaveLength(1);
    expect(found[0]!.addresses.map(({ host }) => host).sort()).toEqual(['127.0.0.1', '::1']);
    expect(failures).toHaveLength(1);
    await expect(all(mergeOf([failing]))).rejects.toThrow('nothing to ask');
  });
});
