import type { Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { diagnose, type DiagnoseDeps, type DiagnoseOptions } from './diagnose.ts';
import { decodeRequest, encodeReply, signedBytes } from './discovery-wire.ts';
import { interfaceAddresses, type InterfaceAddress } from './link-addresses.ts';
import { fitAnnouncement } from './fit-announcement.ts';
import { create } from '@bufbuild/protobuf';
import { AgentAnnouncementSchema } from '@drover/herd-protocol';
import { probeTcp, probeUdp } from './probe-port.ts';
import { startTestAgent, testDescription, testSigner } from './test-agent.fixture.ts';
import { openUdpSocket } from './udp-socket.ts';

const opened: (Socket | AsyncDisposable)[] = [];
afterEach(async () => {
  for (const one of opened.splice(0)) {
    if ('close' in one) await new Promise<void>((resolve) => void one.close(() => resolve()));
    else await one[Symbol.asyncDispose]();
  }
});

const loopback = interfaceAddresses().filter(({ internal }) => internal);
const at = (name: string, address: string, prefixBits: number): InterfaceAddress => ({
  name,
  family: 4,
  address,
  prefixBits,
  internal: false,
});
/** Ports that are free now, UDP and TCP. */
async function tcpServer(port = 0): Promise<number> {
  const server = createServer((socket) => socket.end()).listen(port, '127.0.0.1');
  await once(server, 'listening');
  opened.push({ [Symbol.asyncDispose]: () => new Promise((resolve) => void server.close(() => resolve())) });
  return (server.address() as { port: number }).port;
}
async function udpSilence(port = 0): Promise<number> {
  const socket = await openUdpSocket({ host: '127.0.0.1', port, shared: false });
  opened.push(socket);
  return socket.address().port;
}
const agent = async (...args: Parameters<typeof startTestAgent>): ReturnType<typeof startTestAgent> => {
  const started = await startTestAgent(...args);
  opened.push(started);
  return started;
};
/** Looks on the loopback interface alone, so that nothing leaves this machine. */
const codesOf = async (options: DiagnoseOptions, deps: DiagnoseDeps = {}): Promise<readonly string[]> => {
  const { findings } = await diagnose(
    { timeoutMs: 150, interfaces: ['lo'], ...options },
    { interfaces: () => loopback, ...deps },
  );
  for (const { message, advice } of findings) expect(message.length * advice.length).toBeGreaterThan(0);
  return findings.map(({ code }) => code);
};

test('nothing is wrong with an agent that is found and takes connections', async () => {
  const port = await tcpServer();
  const one = await agent('agent-1', { port: 0, hosts: ['0.0.0.0'] }, { port });
  expect(await codesOf({ port: one.port })).toEqual([]);
});

test('nobody answers', async () => {
  const port = await udpSilence();
  expect(await codesOf({ port })).toEqual(['NOTHING_ANSWERS']);
});

test('no interface, or none with broadcasts', async () => {
  const port = await udpSilence();
  expect(await codesOf({ port, interfaces: ['nowhere0'] })).toContain('NO_INTERFACE');
  expect(await codesOf({ port, interfaces: undefined })).toContain('NO_INTERFACE');
  const deps = { interfaces: () => [at('wg0', '10.9.0.1', 32)] };
  expect(await codesOf({ port, interfaces: undefined }, deps)).toEqual(['NO_BROADCAST']);
});

test('an agent on this machine whose herd is off', async () => {
  const port = await udpSilence();
  const localAgent = (): Promise<string> => Promise.resolve('process 4711');
  expect(await codesOf({ port }, { localAgent })).toEqual(['HERD_DISABLED']);
  const tcp = await tcpServer();
  const one = await agent('agent-1', { port: 0, hosts: ['0.0.0.0'] }, { port: tcp });
  expect(await codesOf({ port: one.port }, { localAgent })).toEqual([]);
});

test('an agent that answers when it is asked itself, in another network or in this one', async () => {
  const port = await tcpServer();
  const one = await agent('agent-1', { port: 0, hosts: ['127.0.0.9'] }, { port });
  await tcpServer(one.port);
  const hosts = [`127.0.0.9:${one.port}`];
  const elsewhere = await codesOf(
    { port: await udpSilence(), hosts },
    { interfaces: () => [at('lo', '127.8.0.1', 16)] },
  );
  expect(elsewhere).toContain('OTHER_SUBNET');
  const near = await codesOf({ port: await udpSilence(), hosts });
  expect(near).toContain('BROADCAST_BLOCKED');
});

test('a host by TCP and not by UDP, by neither, and the reverse', async () => {
  const silent = await udpSilence();
  await tcpServer(silent);
  const closed = await udpSilence();
  await new Promise<void>((resolve) => void (opened.pop() as Socket).close(() => resolve()));
  const port = await udpSilence();
  expect(await codesOf({ port, hosts: [`127.0.0.1:${silent}`] })).toEqual(['UDP_BLOCKED']);
  expect(await codesOf({ port, hosts: [`127.0.0.1:${closed}`] })).toEqual(['NO_AGENT_THERE']);
  expect(await codesOf({ port, hosts: ['no-such-host.invalid'] })).toEqual(['HOST_UNKNOWN']);
  const one = await agent('agent-1', { port: 0, hosts: ['0.0.0.0'] }, { port: closed });
  expect(await codesOf({ port: one.port })).toEqual(['TCP_BLOCKED']);
});

test('a port to which nothing can be sent is no crash', async () => {
  // To a broadcast address neither socket may connect as it is.
  expect(await probeUdp('255.255.255.255', 9, 100)).toBe('unreachable');
  expect(await probeTcp('255.255.255.255', 9, 100)).toBe('unreachable');
});

test('another version, and a forged reply', async () => {
  const [known, stranger] = [testSigner(), testSigner()];
  const socket = await openUdpSocket({ host: '0.0.0.0', port: 0, shared: false });
  opened.push(socket);
  const reply = (over: object, nonce: Uint8Array): Buffer => {
    const whole = create(AgentAnnouncementSchema, { ...testDescription('ours'), key: stranger.publicKey, ...over });
    const announcement = fitAnnouncement(whole, 1_000)!;
    return encodeReply({ nonce, announcement, signature: stranger.sign(signedBytes(nonce, announcement)) });
  };
  socket.on('message', (datagram, { port, address }) => {
    const { nonce } = decodeRequest(datagram)!;
    socket.send(reply({ protocol: 1 }, nonce), port, address);
    socket.send(reply({ protocol: 0, agentId: 'newer', protocolNewest: 3 }, nonce), port, address);
  });
  const knownAgents = { keyOf: (id: string) => (id === 'ours' ? known.publicKey : undefined) };
  expect(await codesOf({ port: socket.address().port }, { knownAgents })).toEqual([
    'VERSION_MISMATCH',
    'FORGED_REPLIES',
  ]);
});

test('agents, and none that this client is paired with', async () => {
  const port = await tcpServer();
  const one = await agent('agent-1', { port: 0, hosts: ['0.0.0.0'] }, { port });
  expect(await codesOf({ port: one.port }, { knownAgents: { keyOf: () => undefined } })).toEqual(['NOT_PAIRED']);
});

test('a domain without a record', async () => {
  expect(await codesOf({ port: await udpSilence(), domains: ['no domain'] })).toEqual(['DNS_DOMAIN_INVALID']);
});
