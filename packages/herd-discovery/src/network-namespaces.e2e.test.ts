import { afterAll, beforeAll, expect, test, type TestContext } from 'vitest';
import { openTestNetwork, type TestHost, type TestNetwork } from './network-namespaces.test.fixture.ts';

/**
 * Two LANs: the client and the agent `two` have a card in each, the agent `one` is in the first alone. Nothing of them is
 * connected with this machine.
 */
let network: TestNetwork | string;
let client: TestHost;
let one: TestHost;
let two: TestHost;

beforeAll(async () => {
  network = await openTestNetwork();
  if (typeof network === 'string') return;
  const made = network;
  [client, one, two] = await Promise.all([
    made.host('client', [
      { lan: 'a', number: 10 },
      { lan: 'b', number: 10 },
    ]),
    made.host('one', [{ lan: 'a', number: 11 }]),
    made.host('two', [
      { lan: 'a', number: 12 },
      { lan: 'b', number: 12 },
    ]),
  ]);
  await Promise.all([one.call({ do: 'agent', agentId: 'one' }), two.call({ do: 'agent', agentId: 'two' })]);
});
afterAll(async () => {
  if (typeof network === 'object') await network[Symbol.asyncDispose]();
});

function connected({ skip }: TestContext): TestNetwork {
  return typeof network === 'string' ? skip(network) : network;
}
/** Frames that a port of the switch has taken in. */
async function framesOf(lan: TestNetwork, port: string): Promise<number> {
  const [link] = JSON.parse(await lan.ip(`-statistics -json link show ${port}`)) as {
    stats64: { rx: { packets: number } };
  }[];
  return link!.stats64.rx.packets;
}
const hostsOf = (agents: Awaited<ReturnType<TestHost['find']>>, agentId: string): readonly string[] =>
  (agents.find((agent) => agent.agentId === agentId)?.addresses ?? []).map(({ host }) => host).sort();

test('every network is asked, and a machine with two cards is one agent [limits:netns]', async (context) => {
  connected(context);
  const found = await client.find({ timeoutMs: 400 });
  expect(found.map(({ agentId }) => agentId).sort()).toEqual(['one', 'two']);
  expect(hostsOf(found, 'one')).toEqual(['10.91.1.11', 'fe80::a:11%eth0']);
  expect(hostsOf(found, 'two')).toEqual(['10.91.1.12', '10.91.2.12', 'fe80::a:12%eth0', 'fe80::b:12%eth1']);
});

test('one interface can be asked for, and who is not in its network is not found [limits:netns]', async (context) => {
  connected(context);
  const found = await client.find({ timeoutMs: 200, interfaces: ['eth1'] });
  expect(found.map(({ agentId }) => agentId)).toEqual(['two']);
  expect(hostsOf(found, 'two')).toEqual(['10.91.2.12', 'fe80::b:12%eth1']);
});

test('what the network loses is asked for again [limits:netns]', async (context) => {
  const lan = connected(context);
  await lan.lose(client, 0, 'a', true);
  await lan.lose(client, 1, 'b', true);
  const before = (await one.call({ do: 'counts' })) as { readonly answered: number };
  const framesBefore = await framesOf(lan, 'client-0');
  const searching = client.find({ timeoutMs: 1_500 });
  // The first round has reached the switch, and nobody gets it.
  await expect.poll(() => framesOf(lan, 'client-0')).toBeGreaterThan(framesBefore + 1);
  expect(await one.call({ do: 'counts' })).toEqual(before);
  await lan.lose(client, 0, 'a', false);
  await lan.lose(client, 1, 'b', false);
  expect((await searching).map(({ agentId }) => agentId).sort()).toEqual(['one', 'two']);
});

test('with a fifth of the packets lost each way all are found [limits:netem]', async (context) => {
  connected(context);
  const lossy = [client, one, two];
  try {
    for (const host of lossy) await host.tc('qdisc add dev eth0 root netem loss 20%');
  } catch (error) {
    context.skip(`the kernel or tc has no netem: ${String(error).split('\n')[1] ?? ''}`);
  }
  const found = await client.find({ timeoutMs: 2_000 });
  for (const host of lossy) await host.tc('qdisc del dev eth0 root');
  expect(found.map(({ agentId }) => agentId).sort()).toEqual(['one', 'two']);
});

test('an agent listens on a card that comes later [limits:netns]', async (context) => {
  const lan = connected(context);
  await lan.plug(one, 1, { lan: 'b', number: 11 });
  await expect
    .poll(async () => hostsOf(await client.find({ timeoutMs: 200, interfaces: ['eth1'] }), 'one'), { timeout: 5_000 })
    .toEqual(['10.91.2.11', 'fe80::b:11%eth1']);
  await one.ip('link del eth1');
  const found = await client.find({ timeoutMs: 200 });
  expect(hostsOf(found, 'one')).toEqual(['10.91.1.11', 'fe80::a:11%eth0']);
});
