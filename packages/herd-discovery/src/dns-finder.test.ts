import { once } from 'node:events';
import type { Socket } from 'node:dgram';
import { afterEach, expect, test } from 'vitest';
import { createDnsFinder } from './dns-finder.ts';
import { startTestAgent } from './test-agent.fixture.ts';
import { openUdpSocket } from './udp-socket.ts';

const opened: (Socket | AsyncDisposable)[] = [];
afterEach(async () => {
  for (const one of opened.splice(0)) {
    if ('close' in one) await new Promise<void>((resolve) => void one.close(() => resolve()));
    else await one[Symbol.asyncDispose]();
  }
});

interface Srv {
  readonly port: number;
  readonly target: string;
}

const labels = (name: string): Buffer =>
  Buffer.concat([
    ...name.split('.').map((label) => Buffer.concat([Uint8Array.of(label.length), Buffer.from(label)])),
    Uint8Array.of(0),
  ]);
const numbers = (...values: number[]): Buffer => Buffer.from(values.flatMap((value) => [value >> 8, value & 255]));

/** A DNS server (RFC 1035) that knows the SRV records of one name; answers its `ADDRESS:PORT`, and what it was asked. */
async function dnsServer(name: string, records: readonly Srv[]): Promise<{ server: string; asked: string[] }> {
  const socket = await openUdpSocket({ host: '127.0.0.1', port: 0, shared: false });
  opened.push(socket);
  const asked: string[] = [];
  socket.on('message', (query, { port, address }) => {
    const end = query.indexOf(0, 12);
    const question = query.subarray(12, end + 5);
    asked.push(query.subarray(13, end).toString('latin1'));
    const isKnown = question.subarray(0, -4).equals(labels(name));
    const answers = isKnown
      ? records.map(({ port: to, target }) => {
          const data = Buffer.concat([numbers(0, 0, to), labels(target)]);
          return Buffer.concat([numbers(0xc00c, 33, 1, 0, 60, data.length), data]);
        })
      : [];
    const head = [query.readUInt16BE(0), isKnown ? 0x8180 : 0x8183, 1, answers.length, 0, 0];
    socket.send(Buffer.concat([numbers(...head), question, ...answers]), port, address);
  });
  return { server: `127.0.0.1:${socket.address().port}`, asked };
}

test('the hosts of a domain’s SRV records are asked', async () => {
  const [one, two] = [
    await startTestAgent('agent-1', { port: 0, hosts: ['127.0.0.1'] }),
    await startTestAgent('agent-2', { port: 0, hosts: ['127.0.0.1'] }),
  ];
  opened.push(one, two);
  const { server, asked } = await dnsServer('_drover-herd._udp.build.test', [
    { port: one.port, target: 'localhost' },
    { port: two.port, target: 'localhost' },
  ]);
  const found = [];
  const finder = createDnsFinder({ domain: 'build.test', servers: [server] });
  for await (const { agentId } of finder.find({ timeoutMs: 3_000 })) found.push(agentId);
  expect(found.sort()).toEqual(['agent-1', 'agent-2']);
  expect(asked).toHaveLength(1);
});

test('no record, no answer and no domain are told apart', async () => {
  const find = async (domain: string, server: string): Promise<void> => {
    for await (const _ of createDnsFinder({ domain, servers: [server] }).find({ timeoutMs: 600 }));
  };
  const { server } = await dnsServer('_drover-herd._udp.other.test', []);
  await expect(find('build.test', server)).rejects.toMatchObject({
    code: 'DNS_NO_RECORD',
    message: expect.stringContaining('_drover-herd._udp.build.test') as string,
  });
  const silent = await openUdpSocket({ host: '127.0.0.1', port: 0, shared: false });
  opened.push(silent);
  // It asked, so that a server was there to be silent.
  const query = once(silent, 'message');
  const silence = find('build.test', `127.0.0.1:${silent.address().port}`);
  await expect(silence).rejects.toMatchObject({ code: 'DNS_UNAVAILABLE' });
  await query;
  await expect(find('build test', server)).rejects.toMatchObject({ code: 'DNS_DOMAIN_INVALID' });
});
