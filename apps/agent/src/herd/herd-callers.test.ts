import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { createPublicKey, X509Certificate } from 'node:crypto';
import type { DescMethod, DescMethodStreaming, DescMethodUnary, DescService } from '@bufbuild/protobuf';
import { createContextValues, type Transport } from '@connectrpc/connect';
import { loadAppConfig } from '@drover/app-config';
import { HerdClients, HerdIdentity, herdCallTable, PairingTokens } from '@drover/herd-pairing/agent';
import {
  createAgentTransport,
  HerdTrust,
  pairWithAgent,
  unpairedTls,
  type AgentTls,
} from '@drover/herd-pairing/client';
import { HerdService, PairingService } from '@drover/herd-protocol';
import { silentLogger } from '@drover/lease-kit';
import { createMachineFacts } from '@drover/machine-facts';
import { createResourceLedger } from '@drover/resource-ledger';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import {
  ByteStream,
  Capabilities,
  ContentAddressableStorage,
  Health,
  ServerReflection,
  ServerReflectionV1Alpha,
} from '@drover/standard-protocols';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { agentConfig } from '../agent-config.ts';
import { startHerd, type AgentHerd } from './compose-herd.ts';

const services: readonly DescService[] = [
  PairingService,
  HerdService,
  ContentAddressableStorage,
  Capabilities,
  ByteStream,
  Health,
  ServerReflection,
  ServerReflectionV1Alpha,
];
const never = new AbortController().signal;
const dayMs = 86_400_000;

interface TestAgent extends AsyncDisposable {
  readonly dir: string;
  readonly herd: AgentHerd;
  readonly address: { readonly host: string; readonly port: number };
}

/** The herd host of the agent app, as its configuration makes it. */
async function startAgent(agentId: string, flags: Record<string, string | readonly string[]> = {}): Promise<TestAgent> {
  const dir = mkdtempSync(join(tmpdir(), 'drover-callers-'));
  const config = loadAppConfig(agentConfig, {
    env: {},
    cwd: '/',
    flags: {
      'state.dir': dir,
      'herd.enabled': 'true',
      'herd.host': '127.0.0.1',
      'herd.port': '0',
      'herd.discovery': 'false',
      ...flags,
    },
  }).value;
  const facts = createMachineFacts({ stateDir: dir });
  const ledger = createResourceLedger({ total: { cores: 2 }, leasesMax: 1 });
  const herd = await startHerd(config, { agent: { agentId, ledger }, facts, logger: silentLogger });
  return {
    dir: join(dir, 'herd'),
    herd,
    address: { host: '127.0.0.1', port: Number(new URL(herd.url!).port) },
    async [Symbol.asyncDispose]() {
      await herd[Symbol.asyncDispose]();
      await facts[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true });
    },
  };
}

async function pairBy(agent: TestAgent, trust: HerdTrust): Promise<AgentTls> {
  const { text: token } = new PairingTokens(agent.dir).create({ note: '' });
  return trust.tlsFor(
    await pairWithAgent({ address: agent.address, secret: { token }, clientName: 'ada' }, trust, never),
  );
}

/** The code of the first error of a call with an empty request; `let in` for one that is about something else. */
async function callOf(transport: Transport, method: DescMethod): Promise<string> {
  const requests = (async function* () {
    yield {};
  })();
  const values = createContextValues();
  try {
    if (method.methodKind === 'unary') {
      await transport.unary(method as DescMethodUnary, undefined, 20_000, undefined, {}, values);
    } else {
      const abort = new AbortController();
      const streaming = method as DescMethodStreaming;
      const answer = await transport.stream(streaming, abort.signal, undefined, undefined, requests, values);
      // Whoever is let in gets an answer or an error; a watch goes on, so that one is enough.
      await answer.message[Symbol.asyncIterator]().next();
      abort.abort();
    }
    return 'let in';
  } catch (error) {
    const { code } = droverErrorFromConnect(error);
    return refusals.has(code) ? code : 'let in';
  }
}

const refusals: ReadonlySet<string> = new Set([
  'CERTIFICATE_EXPIRED',
  'CLIENT_REVOKED',
  'CLIENT_UNKNOWN',
  'NOT_PAIRED',
  'UNAUTHENTICATED',
]);

let agent: TestAgent;
let other: TestAgent;
let dir: string;
const callers: Record<string, AgentTls> = {};
/** Certificates that are wrong: the connection ends before any call. */
const strangers: Record<string, AgentTls> = {};

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'drover-callers-'));
  [agent, other] = await Promise.all([startAgent('agent-1'), startAgent('agent-2')]);
  const trust = new HerdTrust(join(dir, 'trust'));
  const paired = await pairBy(agent, trust);
  const revoked = await pairBy(agent, new HerdTrust(join(dir, 'revoked')));
  const clients = new HerdClients(agent.dir);
  const [{ clientId } = { clientId: '' }] = clients.list();
  clients.revoke(clientId);
  const elsewhere = await pairBy(other, trust);
  using identity = await HerdIdentity.open({ dir: join(agent.dir, 'identity'), agentId: 'agent-1' });
  const key = createPublicKey({ key: Buffer.from(trust.clientKey()), type: 'spki', format: 'der' });
  const signed = async (commonName: string, lifetimeMs: number) => {
    const { certificate } = await identity.certify({ commonName, name: '', key }, lifetimeMs);
    return { ...paired, cert: new X509Certificate(certificate).toString() };
  };
  Object.assign(callers, { unpaired: unpairedTls, paired, revoked, unknown: await signed('herd:0000000000', dayMs) });
  const { cert } = identity.certificate;
  Object.assign(strangers, {
    'another agent’s': { ...paired, cert: elsewhere.cert },
    'one that has ended': await signed(`herd:${clientId}`, -1_000),
    'the agent’s own': { ...paired, cert, key: identity.certificate.key },
  });
});
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true });
});

/** What each kind of caller gets, by what the table says of a method. */
const expected = {
  unpaired: { anybody: 'let in', allowed: 'NOT_PAIRED', paired: 'NOT_PAIRED' },
  paired: { anybody: 'let in', allowed: 'let in', paired: 'let in' },
  revoked: { anybody: 'CLIENT_REVOKED', allowed: 'CLIENT_REVOKED', paired: 'CLIENT_REVOKED' },
  unknown: { anybody: 'CLIENT_UNKNOWN', allowed: 'CLIENT_UNKNOWN', paired: 'CLIENT_UNKNOWN' },
} as const;

describe.each(Object.keys(expected) as (keyof typeof expected)[])('a client that is %s', (kind) => {
  test('gets what the table says, of every method of every service', async () => {
    using calls = createAgentTransport(agent.address, callers[kind]!);
    for (const service of services) {
      for (const method of service.methods) {
        const needs = herdCallTable[service.typeName]?.[method.name];
        expect(needs, `${service.typeName}/${method.name} has a row`).toBeDefined();
        // The host answers for health itself, and asks nobody.
        const wanted = service === Health ? 'let in' : expected[kind][needs!];
        expect(await callOf(calls.transport, method), `${service.typeName}/${method.name}`).toBe(wanted);
      }
    }
  });
});

test('the table has a row for nothing else', () => {
  const names = services.flatMap(({ typeName, methods }) => methods.map(({ name }) => `${typeName}/${name}`));
  const rows = Object.entries(herdCallTable).flatMap(([service, methods]) =>
    Object.keys(methods).map((method) => `${service}/${method}`),
  );
  expect(rows.sort()).toEqual(names.sort());
});

test.each(['another agent’s', 'one that has ended', 'the agent’s own'])(
  'a certificate: %s, gets no answer',
  async (which) => {
    const { agentId: _, ...tls } = strangers[which]!;
    const socket = connect({ ...agent.address, ...tls, ALPNProtocols: ['h2'] });
    socket.on('error', () => undefined);
    const heard: Buffer[] = [];
    socket.on('data', (data: Buffer) => heard.push(data));
    await once(socket, 'close');
    expect(Buffer.concat(heard).toString('latin1')).toBe('');
  },
);

test('unpaired clients of a network that is allowed run jobs, and get no certificate', async () => {
  await using open = await startAgent('agent-3', { 'herd.allow_unpaired': ['127.0.0.0/8'] });
  using calls = createAgentTransport(open.address, unpairedTls);
  expect(await callOf(calls.transport, HerdService.method.getAgent)).toBe('let in');
  expect(await callOf(calls.transport, PairingService.method.renewCertificate)).toBe('NOT_PAIRED');
});

test('a second agent of one state folder is refused', async () => {
  const config = loadAppConfig(agentConfig, {
    env: {},
    cwd: '/',
    flags: { 'state.dir': join(agent.dir, '..'), 'herd.enabled': 'true', 'herd.port': '0' },
  }).value;
  const ledger = createResourceLedger({ total: { cores: 2 }, leasesMax: 1 });
  await using facts = createMachineFacts({ stateDir: agent.dir });
  const second = startHerd(config, { agent: { agentId: 'agent-1', ledger }, facts, logger: silentLogger });
  await expect(second).rejects.toMatchObject({ code: 'AGENT_STATE_IN_USE' });
});
