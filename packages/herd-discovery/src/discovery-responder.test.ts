import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { AgentAnnouncementSchema, DiscoveryRequestSchema } from '@drover/herd-protocol';
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import { createDiscoveryResponder } from './discovery-responder.ts';
import { decodeReply, encodeRequest } from './discovery-wire.ts';
import { startTestAgent, testDescription, testSigner } from './test-agent.fixture.ts';
import { openUdpSocket } from './udp-socket.ts';

const opened: (Socket | AsyncDisposable)[] = [];
afterEach(async () => {
  for (const one of opened.splice(0)) {
    if ('close' in one) await new Promise<void>((resolve) => void one.close(() => resolve()));
    else await one[Symbol.asyncDispose]();
  }
});

const agent = async (...args: Parameters<typeof startTestAgent>): ReturnType<typeof startTestAgent> => {
  const started = await startTestAgent(...args);
  opened.push(started);
  return started;
};
const client = async (host = '127.0.0.1'): Promise<Socket> => {
  const socket = await openUdpSocket({ host, port: 0, shared: false });
  opened.push(socket);
  return socket;
};
/** A request of `sizeBytes`, as any client may write it. */
function requestOf(sizeBytes: number, over: { protocols?: number[]; nonce?: Uint8Array } = {}): Buffer {
  const request = create(DiscoveryRequestSchema, { nonce: randomBytes(16), protocols: [1], ...over });
  const bare = 7 + toBinary(DiscoveryRequestSchema, request).length;
  const around = sizeBytes - bare > 129 ? 3 : 2;
  request.padding = new Uint8Array(Math.max(0, sizeBytes - bare - around));
  return Buffer.concat([Buffer.from('DRVHRD\u0001'), toBinary(DiscoveryRequestSchema, request)]);
}
async function answerTo(socket: Socket, request: Uint8Array, port: number, host = '127.0.0.1') {
  const message = once(socket, 'message') as Promise<[Buffer]>;
  socket.send(request, port, host);
  const [datagram] = await message;
  const reply = decodeReply(datagram)!;
  return { datagram, reply, announcement: fromBinary(AgentAnnouncementSchema, reply.announcement) };
}

test.each(['127.0.0.1', '::1'])('an agent answers at %s what it is, signed', async (host) => {
  const signer = testSigner();
  const { port } = await agent('agent-1', { port: 0, hosts: [host] }, { signer });
  const request = encodeRequest(randomBytes(16), 0);
  const { datagram, reply, announcement } = await answerTo(await client(host), request, port, host);
  expect(datagram.length).toBeLessThanOrEqual(request.length);
  expect(reply.signature).toHaveLength(64);
  expect(announcement).toMatchObject({ protocol: 1, protocolNewest: 1, agentId: 'agent-1', slotsFree: 5, port: 7614 });
  expect(Buffer.from(announcement.key).equals(signer.publicKey)).toBe(true);
});

test('no reply is larger than its request: lists are cut, and then there is none', async () => {
  const many = Array.from({ length: 32 }, (_, n) => `a pool with a long name, the one with the number ${n}`);
  const unlimited = { perSourceBurst: 10_000, overallBurst: 10_000 };
  const one = await agent('agent-1', { port: 0, hosts: ['127.0.0.1'], limits: unlimited }, { pools: many, gpus: many });
  const socket = await client();
  let poolsBefore = 0;
  for (const size of [1_200, 1_000, 700, 420, 300]) {
    const request = requestOf(size);
    expect(request).toHaveLength(size);
    const { datagram, announcement } = await answerTo(socket, request, one.port);
    expect(datagram.length).toBeLessThanOrEqual(size);
    expect(announcement).toMatchObject({ agentId: 'agent-1', port: 7614, slotsFree: 5 });
    if (poolsBefore > 0) expect(announcement.pools.length).toBeLessThan(poolsBefore);
    poolsBefore = announcement.pools.length;
  }
  expect(poolsBefore).toBe(0);
  // Too small for any: silence. The next one is answered, which shows that the others were looked at before.
  for (let size = 30; size < 200; size += 10) socket.send(requestOf(size), one.port, '127.0.0.1');
  await answerTo(socket, requestOf(1_200), one.port);
  expect(one.counts()['too-small']).toBe(17);
  // Nor is one larger for a request that is larger than any of ours.
  const { datagram } = await answerTo(socket, requestOf(3_000), one.port);
  expect(datagram.length).toBeLessThanOrEqual(1_200);
});

test('what is no request is silence, and counted', async () => {
  const one = await agent('agent-1', { port: 0, hosts: ['127.0.0.1'] });
  const socket = await client();
  const wrong = [
    Buffer.from('Slaves, show yourselves!'),
    Buffer.alloc(0),
    Buffer.from('DRVHRD\u0001'),
    Buffer.from('DRVHRD\u0001\u00ff\u00ff'),
    requestOf(600, { nonce: randomBytes(15) }),
    requestOf(600, { protocols: [] }),
    requestOf(600, { protocols: Array.from({ length: 17 }, () => 1) }),
    requestOf(5_000),
  ];
  for (const datagram of wrong) socket.send(datagram, one.port, '127.0.0.1');
  // An agent's answer is no question to another.
  const { datagram } = await answerTo(socket, requestOf(1_200), one.port);
  await answerTo(await client(), requestOf(1_200), one.port);
  socket.send(datagram, one.port, '127.0.0.1');
  await answerTo(socket, requestOf(1_200), one.port);
  expect(one.counts()).toMatchObject({ malformed: wrong.length + 1, answered: 3 });
});

test('a source has a bound, and others are answered meanwhile', async () => {
  const limits = { perSourceBurst: 3, perSourcePerSecond: 0 };
  const one = await agent('agent-1', { port: 0, hosts: ['127.0.0.1'], limits });
  const greedy = await client('127.0.0.2');
  for (let n = 0; n < 20; n += 1) greedy.send(requestOf(1_200), one.port, '127.0.0.1');
  const { announcement } = await answerTo(await client('127.0.0.3'), requestOf(1_200), one.port);
  expect(announcement.agentId).toBe('agent-1');
  expect(one.counts()).toMatchObject({ answered: 4, limited: 17 });
});

test('a client with which no version is shared is told so, and what there is', async () => {
  const { port } = await agent('agent-1', { port: 0, hosts: ['127.0.0.1'] });
  const { announcement } = await answerTo(await client(), requestOf(1_200, { protocols: [7, 9] }), port);
  expect(announcement).toMatchObject({ protocol: 0, protocolNewest: 1, agentId: 'agent-1', port: 0, pools: [] });
});

test('answers are spread when the client asks for that, and none outlives the agent', async () => {
  const one = await agent('agent-1', { port: 0, hosts: ['127.0.0.1'] });
  const socket = await client();
  const { announcement } = await answerTo(socket, encodeRequest(randomBytes(16), 20), one.port);
  expect(announcement.agentId).toBe('agent-1');
  socket.send(encodeRequest(randomBytes(16), 1_000), one.port, '127.0.0.1');
  await answerTo(socket, requestOf(1_200), one.port);
  await one.stop();
});

test('an agent whose description fails goes on, and answers the next', async () => {
  let isAway = true;
  const responder = createDiscoveryResponder(
    { port: 0, hosts: ['127.0.0.1'] },
    {
      signer: testSigner(),
      describe: () => {
        if (isAway) throw new Error('not yet');
        return testDescription('agent-1');
      },
    },
  );
  opened.push(responder);
  await responder.start();
  const { port } = responder.listening[0]!;
  const socket = await client();
  socket.send(requestOf(1_200), port, '127.0.0.1');
  await expect.poll(() => responder.counts().failed).toBe(1);
  isAway = false;
  await answerTo(socket, requestOf(1_200), port);
});

test('it starts and stops as often as one likes; a port of another is told', async () => {
  const one = await agent('agent-1', { port: 0, hosts: ['127.0.0.1'] });
  await one.start();
  await one.stop();
  await one.stop();
  expect(one.listening).toEqual([]);
  await one.start();
  expect(one.listening).toHaveLength(1);
  const taken = await openUdpSocket({ host: '127.0.0.1', port: 0, shared: false });
  opened.push(taken);
  await expect(agent('agent-2', { port: taken.address().port, hosts: ['127.0.0.1'] })).rejects.toMatchObject({
    code: 'DISCOVERY_PORT_UNAVAILABLE',
  });
  // One address that cannot be had does not keep it from the other.
  const half = await agent('agent-3', { port: 0, hosts: ['192.0.2.1', '127.0.0.1'] });
  expect(half.listening.map(({ host }) => host)).toEqual(['127.0.0.1']);
});
