import { createHash, createPublicKey, generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { createClient } from '@connectrpc/connect';
import { HerdService, PairingService, type AgentAddress } from '@drover/herd-protocol';
import { ManualClock } from '@drover/lease-kit/testing';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { HerdIdentity } from './agent/herd-identity.ts';
import { unpairedTls, type AgentTls } from './client/agent-tls.ts';
import { createAgentTransport } from './client/agent-transport.ts';
import { HerdTrust } from './client/herd-trust.ts';
import { pairWithAgent } from './client/pair-with-agent.ts';
import { startPairingAgent, type PairingAgent, type PairingAgentOptions } from './pairing-agent.fixture.ts';
import { codeProof, keyOfCode, keyOfToken, tokenProof } from './proof/pairing-proofs.ts';

const never = new AbortController().signal;
const day = 86_400_000;
const cleanups: (() => unknown)[] = [];
let trustDir: string;
let trust: HerdTrust;
beforeEach(() => {
  trustDir = mkdtempSync(join(tmpdir(), 'drover-trust-'));
  trust = new HerdTrust(trustDir);
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  rmSync(trustDir, { recursive: true });
});

async function start(options: PairingAgentOptions = {}): Promise<PairingAgent> {
  const agent = await startPairingAgent(options);
  cleanups.push(() => agent[Symbol.asyncDispose]());
  return agent;
}

function pair(
  agent: { readonly address: AgentAddress },
  secret: { readonly code: string } | { readonly token: string },
  by = trust,
) {
  return pairWithAgent({ address: agent.address, secret, clientName: 'ada@box' }, by, never);
}

/** Pairs with a new token, which takes less time than a code. */
const letIn = (agent: PairingAgent) => pair(agent, { token: agent.tokens.create({ note: '' }).text });

/** Who the agent takes the caller for. */
async function call(address: AgentAddress, tls: AgentTls): Promise<string> {
  using calls = createAgentTransport(address, tls);
  try {
    return (await createClient(HerdService, calls.transport).getAgent({}, { timeoutMs: 10_000 })).name;
  } catch (error) {
    throw droverErrorFromConnect(error);
  }
}

/** The agent has ended the connection. */
const closed = /^RPC_(?:UNAVAILABLE|CANCELED)$/;

const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no error',
    (error: unknown) => droverErrorFromConnect(error).code,
  );

describe('a code', () => {
  test('lets one client in, which then calls over mutual TLS', async () => {
    const agent = await start();
    const { code } = agent.codes.open(300_000);
    expect(await codeOf(call(agent.address, unpairedTls))).toBe('NOT_PAIRED');
    // As people type it.
    const paired = await pair(agent, { code: code.toLowerCase().replace('-', ' ') });
    expect(paired).toMatchObject({ agentId: 'agent-1', name: 'box', address: agent.address });
    expect(Buffer.from(trust.keyOf('agent-1')!)).toEqual(Buffer.from(agent.identity.publicKey));
    const tls = await trust.tlsFor(paired);
    expect(await call(agent.address, tls)).toBe('ada@box');
    expect(agent.clients.list()).toMatchObject([{ name: 'ada@box', by: 'code', state: 'paired' }]);
    expect(agent.log.map(({ event }) => event)).toContain('herd.client-paired');
    // Once.
    expect(await codeOf(pair(agent, { code }))).toBe('CODE_CLOSED');
    expect(await codeOf(trust.tlsFor({ agentId: 'agent-2', address: agent.address }))).toBe('NOT_PAIRED');
  });

  test('is closed by five wrong proofs, and then of no use to who has it', async () => {
    const agent = await start();
    const { code } = agent.codes.open(300_000);
    const wrong = code.startsWith('0') ? `1${code.slice(1)}` : `0${code.slice(1)}`;
    for (const left of [4, 3, 2, 1, 0]) {
      await expect(pair(agent, { code: wrong })).rejects.toMatchObject({ code: 'CODE_WRONG', details: { left } });
    }
    expect(await codeOf(pair(agent, { code }))).toBe('CODE_CLOSED');
    expect(trust.list()).toEqual([]);
    // Another one does.
    await pair(agent, { code: agent.codes.open(300_000).code });
  });

  test('ends with its time, also between the two calls', async () => {
    const clock = new ManualClock(Date.now());
    const agent = await start({ clock });
    expect(await codeOf(pair(agent, { code: 'AAAA-AAAA' }))).toBe('CODE_CLOSED');
    const { code } = agent.codes.open(300_000);
    using calls = createAgentTransport(agent.address, unpairedTls);
    const client = createClient(PairingService, calls.transport);
    const { finish } = await begin(client, code, () => calls.shownCertificate!);
    clock.advance(299_999);
    expect(agent.codes.current()).toHaveLength(1);
    clock.advance(1);
    expect(await codeOf(finish())).toMatch('PAIRING_UNKNOWN');
    expect(await codeOf(pair(agent, { code }))).toBe('CODE_EXPIRED');
    clock.advance(3_600_000);
    expect(await codeOf(pair(agent, { code }))).toBe('CODE_CLOSED');
    expect(readdirSync(join(agent.dir, 'codes'))).toEqual([]);
  });

  test('what was said once is of no use when it is said again', async () => {
    const agent = await start();
    const { code } = agent.codes.open(300_000);
    using calls = createAgentTransport(agent.address, unpairedTls);
    const client = createClient(PairingService, calls.transport);
    const { finish } = await begin(client, code, () => calls.shownCertificate!);
    await finish();
    agent.codes.open(300_000);
    expect(await codeOf(finish())).toBe('PAIRING_UNKNOWN');
    // Nor in another pairing.
    const again = await begin(client, code, () => calls.shownCertificate!);
    expect(await codeOf(again.finish())).toBe('CODE_WRONG');
  });

  test('no more than three are open, and of two each lets its own client in', async () => {
    const agent = await start();
    const codes = [1, 2, 3].map(() => agent.codes.open(300_000).code);
    expect(() => agent.codes.open(300_000)).toThrow(expect.objectContaining({ code: 'CODES_TOO_MANY' }));
    await pair(agent, { code: codes[1]! });
    await pair(agent, { code: codes[2]! }, new HerdTrust(join(trustDir, 'other')));
    expect(agent.codes.current().map(({ code }) => code)).toEqual([codes[0]]);
    expect(agent.clients.list()).toHaveLength(2);
    // The same client anew stays the same client.
    await pair(agent, { code: codes[0]! });
    expect(agent.clients.list()).toHaveLength(2);
  });

  test('who asks too often waits', async () => {
    const clock = new ManualClock(Date.now());
    const agent = await start({ clock });
    for (let tries = 0; tries < 20; tries++)
      expect(await codeOf(pair(agent, { code: 'AAAA-AAAA' }))).toBe('CODE_CLOSED');
    await expect(pair(agent, { code: 'AAAA-AAAA' })).rejects.toMatchObject({
      code: 'PAIRING_RATE_LIMITED',
      retryAfterMs: 3_000,
    });
    clock.advance(3_000);
    expect(await codeOf(pair(agent, { code: 'AAAA-AAAA' }))).toBe('CODE_CLOSED');
  });

  test.each([
    ['a nonce', { clientNonce: new Uint8Array(31) }],
    ['a key', { clientKey: new Uint8Array(91) }],
    ['a key of another curve', { clientKey: otherCurve() }],
    ['a name that breaks lines', { clientName: 'a\nb' }],
    ['a name that is too long', { clientName: 'x'.repeat(129) }],
  ])('%s that is none is refused', async (_, wrong) => {
    const agent = await start();
    agent.codes.open(300_000);
    using calls = createAgentTransport(agent.address, unpairedTls);
    const right = { clientNonce: randomBytes(32), clientKey: trust.clientKey(), clientName: 'ada' };
    const client = createClient(PairingService, calls.transport);
    expect(await codeOf(client.beginPairing({ ...right, ...wrong }))).toBe('PAIRING_INVALID');
  });
});

describe('who sits in between', () => {
  test('gets nothing, by code and by token', async () => {
    const agent = await start();
    const { code } = agent.codes.open(300_000);
    const { text: token } = agent.tokens.create({ note: '' });
    const proxy = await startProxy(agent.address);
    expect(await codeOf(pair(proxy, { code }))).toBe('CODE_WRONG');
    expect(await codeOf(pair(proxy, { token }))).toBe('TOKEN_WRONG');
    expect(agent.clients.list()).toEqual([]);
    expect(trust.list()).toEqual([]);
    // The code lives, and so does its owner: four more tries, straight to the agent.
    const paired = await pair(agent, { code });
    // Once paired, a client does not even say hello to it.
    const tls = await trust.tlsFor(paired);
    expect(await codeOf(call(proxy.address, tls))).toBe('AGENT_NOT_TRUSTED');
    expect(proxy.plaintext()).not.toContain('GetAgent');
  });

  test('an agent that does not know the code proves nothing', async () => {
    // It answers whatever it is asked, with proofs of another code.
    const agent = await start();
    const liar = await start({ agentId: 'agent-2' });
    const { code } = agent.codes.open(300_000);
    liar.codes.open(300_000);
    expect(await codeOf(pair(liar, { code }))).toBe('CODE_WRONG');
    expect(trust.list()).toEqual([]);
  });
});

describe('a token', () => {
  test('lets in as many as it may, until it ends', async () => {
    const clock = new ManualClock(Date.now());
    const agent = await start({ clock });
    const { token, text } = agent.tokens.create({ note: 'ci', lifetimeMs: day, usesMax: 1 });
    const { token: any, text: reusable } = agent.tokens.create({ note: '' });
    await pair(agent, { token: text });
    expect(await codeOf(pair(agent, { token: text }))).toBe('TOKEN_USED');
    await pair(agent, { token: reusable });
    await pair(agent, { token: reusable }, new HerdTrust(join(trustDir, 'other')));
    expect(agent.tokens.list()).toMatchObject([
      { tokenId: expect.any(String), uses: expect.any(Number) },
      { tokenId: expect.any(String) },
    ]);
    expect(agent.clients.list().map(({ by }) => by)).toEqual([`token:${any.tokenId}`, `token:${any.tokenId}`]);
    agent.tokens.revoke(any.tokenId);
    expect(await codeOf(pair(agent, { token: reusable }))).toBe('TOKEN_REVOKED');
    const { text: short } = agent.tokens.create({ note: '', lifetimeMs: 1_000 });
    clock.advance(1_000);
    expect(await codeOf(pair(agent, { token: short }))).toBe('TOKEN_EXPIRED');
    expect(await codeOf(pair(agent, { token: `${token.tokenId}.${'A'.repeat(43)}` }))).toBe('TOKEN_WRONG');
    expect(await codeOf(pair(agent, { token: `0000000000.${'A'.repeat(43)}` }))).toBe('TOKEN_WRONG');
    expect(await codeOf(pair(agent, { token: 'nonsense' }))).toBe('TOKEN_INVALID');
    // The secret stands nowhere.
    const secret = reusable.slice(11);
    for (const name of readdirSync(join(agent.dir, 'tokens'))) {
      expect(readFileSync(join(agent.dir, 'tokens', name), 'utf8')).not.toContain(secret);
    }
  });
});

describe('a certificate', () => {
  test('is for its client’s key: without that it is worth nothing', async () => {
    const agent = await start();
    const paired = await letIn(agent);
    const { cert, ...tls } = await trust.tlsFor(paired);
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' });
    expect(() => connectTls({ ...agent.address, ...tls, cert, key })).toThrow('key values mismatch');
  });

  test('of another agent, of nobody, and of the agent itself, lets nobody in', async () => {
    const [agent, other] = [await start(), await start({ agentId: 'agent-2' })];
    const paired = await letIn(agent);
    const elsewhere = await letIn(other);
    const [mine, theirs] = [await trust.tlsFor(paired), await trust.tlsFor(elsewhere)];
    // To the right agent with the wrong certificate.
    expect(await codeOf(call(agent.address, { ...mine, cert: theirs.cert }))).toMatch(closed);
    const { cert, key } = agent.identity.certificate;
    expect(await codeOf(call(agent.address, { ...mine, cert, key }))).toMatch(closed);
    // To the wrong agent with the right one.
    expect(await codeOf(call(other.address, mine))).toBe('AGENT_NOT_TRUSTED');
    expect(await call(agent.address, mine)).toBe('ada@box');
    // A true certificate of the right authority, for a client that the agent knows nothing of.
    const { certificate } = await agent.identity.certify(
      { commonName: 'herd:0000000000', name: '', key: ownKey() },
      day,
    );
    const forged = new X509Certificate(certificate).toString();
    expect(await codeOf(call(agent.address, { ...mine, cert: forged }))).toBe('CLIENT_UNKNOWN');
  });

  test('is renewed when it is used in the second half of its life, and not before', async () => {
    const agent = await start();
    const paired = await letIn(agent);
    const at = (ms: number) => new HerdTrust(trustDir, { clock: new ManualClock(paired.certifiedAtMs + ms) });
    const first = (await trust.tlsFor(paired)).cert;
    expect((await at(0.49 * day).tlsFor(paired)).cert).toBe(first);
    const later = at(0.51 * day);
    const [second, same] = await Promise.all([later.tlsFor(paired), later.tlsFor(paired)]);
    expect(second.cert).not.toBe(first);
    expect(same.cert).toBe(second.cert);
    expect(await call(agent.address, second)).toBe('ada@box');
    // Nobody there: what it has is good still.
    const away = { ...paired, address: { host: '127.0.0.1', port: 1 } };
    expect((await at(0.9 * day).tlsFor(away)).cert).toBe(second.cert);
    expect(await codeOf(at(2 * day).tlsFor(paired))).toBe('CERTIFICATE_EXPIRED');
  });

  test('that has ended lets nobody in, whatever the client’s clock says', async () => {
    const agent = await start();
    const tls = await trust.tlsFor(await letIn(agent));
    const [{ clientId } = { clientId: '' }] = agent.clients.list();
    const ended = await agent.identity.certify({ commonName: `herd:${clientId}`, name: '', key: ownKey() }, -1_000);
    const cert = new X509Certificate(ended.certificate).toString();
    expect(await codeOf(call(agent.address, { ...tls, cert }))).toMatch(closed);
    expect(await call(agent.address, tls)).toBe('ada@box');
  });

  test('that ends while its connection is open is of no use on it', async () => {
    const clock = new ManualClock(Date.now());
    const agent = await start({ clock });
    const paired = await letIn(agent);
    using calls = createAgentTransport(agent.address, await trust.tlsFor(paired));
    const herd = createClient(HerdService, calls.transport);
    await herd.getAgent({});
    clock.advance(day);
    expect(await codeOf(herd.getAgent({}))).toBe('CERTIFICATE_EXPIRED');
  });

  test('of a client that is revoked: its connections end, its calls are refused, a new code lets it in', async () => {
    const agent = await start();
    const paired = await letIn(agent);
    const tls = await trust.tlsFor(paired);
    const [client] = agent.clients.list();
    const socket = connectTls({ ...agent.address, ...tls, ALPNProtocols: ['h2'] });
    socket.on('error', () => undefined).resume();
    await once(socket, 'secureConnect');
    expect(await call(agent.address, tls)).toBe('ada@box');
    const ended = once(socket, 'close');
    agent.clients.revoke(client!.clientId);
    await ended;
    expect(await codeOf(call(agent.address, tls))).toBe('CLIENT_REVOKED');
    expect(agent.log.map(({ event }) => event)).toContain('herd.call-refused');
    const again = await letIn(agent);
    expect(await call(agent.address, await trust.tlsFor(again))).toBe('ada@box');
    expect(
      agent.clients
        .list()
        .map(({ state }) => state)
        .sort(),
    ).toEqual(['paired', 'revoked']);
    expect(() => agent.clients.revoke('nobody')).toThrow(expect.objectContaining({ code: 'CLIENT_UNKNOWN' }));
  });
});

describe('an agent', () => {
  test('stays the same over its processes, and with a new certificate', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'drover-herd-'));
    cleanups.push(() => rmSync(dir, { recursive: true }));
    let paired;
    {
      await using agent = await startPairingAgent({ dir });
      paired = await letIn(agent);
    }
    const agent = await start({ dir });
    expect(await call(agent.address, await trust.tlsFor({ ...paired, address: agent.address }))).toBe('ada@box');
    const before = agent.identity.certificateSha256;
    await agent.identity.renewCertificate();
    expect(agent.identity.certificateSha256).not.toBe(before);
    expect(await call(agent.address, await trust.tlsFor({ ...paired, address: agent.address }))).toBe('ada@box');
    for (const name of ['identity.json', 'certificate.json']) {
      expect(statSync(join(dir, 'identity', name)).mode & 0o777).toBe(0o600);
    }
  });

  test('renews its certificate in time', async () => {
    const clock = new ManualClock(Date.now());
    const dir = join(trustDir, 'identity');
    using identity = await HerdIdentity.open({ dir, agentId: 'a', certificateLifetimeMs: 30 * day }, { clock });
    const first = identity.certificateSha256;
    clock.advance(19 * day);
    expect(identity.certificateSha256).toBe(first);
    clock.advance(2 * day);
    await expect.poll(() => identity.certificateSha256).not.toBe(first);
    expect(identity.certificate.notAfterMs).toBeGreaterThan(clock.wallMs() + 29 * day);
    // The next process takes it up; one of another name does not.
    using next = await HerdIdentity.open({ dir, agentId: 'a', certificateLifetimeMs: 30 * day }, { clock });
    expect(next.certificateSha256).toBe(identity.certificateSha256);
    using other = await HerdIdentity.open({ dir, agentId: 'b', certificateLifetimeMs: 30 * day }, { clock });
    expect(other.certificateSha256).not.toBe(identity.certificateSha256);
  });

  test('that took another’s id does not take its place', async () => {
    const [agent, other] = [await start(), await start()];
    await letIn(agent);
    expect(await codeOf(letIn(other))).toBe('AGENT_ID_TAKEN');
    expect(await call(agent.address, await trust.tlsFor({ agentId: 'agent-1', address: agent.address }))).toBe(
      'ada@box',
    );
    trust.forget('agent-1');
    await letIn(other);
  });

  test('takes calls of who is not paired from networks that it allows, and nothing else of them', async () => {
    const agent = await start({ unpaired: ['127.0.0.0/8'] });
    expect(await call(agent.address, unpairedTls)).toBe('');
    using calls = createAgentTransport(agent.address, unpairedTls);
    expect(await codeOf(createClient(PairingService, calls.transport).renewCertificate({}))).toBe('NOT_PAIRED');
    const elsewhere = await start({ unpaired: ['10.1.0.0/16', 'fd00::/8'] });
    expect(await codeOf(call(elsewhere.address, unpairedTls))).toBe('NOT_PAIRED');
  });

  test('files that others can read are not used, on either side', async () => {
    const agent = await start();
    const paired = await letIn(agent);
    chmodSync(join(trustDir, 'agents/agent-1.json'), 0o640);
    expect(await codeOf(trust.tlsFor(paired))).toBe('HERD_FILE_EXPOSED');
    chmodSync(join(agent.dir, 'identity/identity.json'), 0o644);
    const open = HerdIdentity.open({ dir: join(agent.dir, 'identity'), agentId: 'agent-1' });
    expect(await codeOf(open)).toBe('HERD_FILE_EXPOSED');
  });

  test('that nobody can reach says so', async () => {
    const server = createTcpServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    await new Promise((resolve) => server.close(resolve));
    expect(await codeOf(pair({ address: { host: '127.0.0.1', port } }, { code: 'AAAA-AAAA' }))).toBe(
      'AGENT_UNREACHABLE',
    );
  });
});

/** The proofs as the proto writes them, apart from the code that pairs. */
test('proofs are those of the contract', async () => {
  const transcript = {
    clientNonce: Buffer.alloc(32, 1),
    agentNonce: Buffer.alloc(32, 2),
    clientKey: Buffer.from('key'),
    certificateSha256: Buffer.alloc(32, 3),
    pairingId: 'id',
  };
  const key = await keyOfCode('ABCD1234', transcript.clientNonce, Buffer.alloc(32, 4));
  // As Python's hashlib and hmac have it.
  expect(key.toString('hex')).toBe('b2319502ec40f3fba3754ae733bfe01cd7a7500ee44eaab3f20640dc4cafa430');
  expect(codeProof(key, 'client', transcript).toString('hex')).toBe(
    'cae9fb888cf63eb117daefaf0b7f5a6dcc6d1714c4bf8603f1ecd1d1dffb328b',
  );
  const tokenKey = keyOfToken('0123456789', 'secret');
  expect(tokenKey.toString('hex')).toBe('93f070d988f12c860be00d4d0166e2e133b1c0d59e76001229d5c1f2c9c3deb9');
  expect(tokenProof(tokenKey, 'agent', transcript).toString('hex')).toBe(
    '6e33e0c01320e3e40a00d563f535b40d3804fd8c8efc36f0abc719f638e1a0b2',
  );
});

type Pairer = ReturnType<typeof createClient<typeof PairingService>>;

/** The first half of a pairing by hand; the second may be said any number of times. */
async function begin(client: Pairer, code: string, certificate: () => Uint8Array) {
  const clientNonce = randomBytes(32);
  const clientKey = trust.clientKey();
  const { pairingId, agentNonce, salt } = await client.beginPairing({ clientNonce, clientKey, clientName: 'ada' });
  const key = await keyOfCode(code.replace('-', ''), clientNonce, salt);
  const certificateSha256 = createHash('sha256').update(certificate()).digest();
  const clientProof = codeProof(key, 'client', { clientNonce, agentNonce, clientKey, certificateSha256, pairingId });
  return { finish: () => client.finishPairing({ pairingId, clientProof }) };
}

function otherCurve(): Uint8Array {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  return publicKey.export({ type: 'spki', format: 'der' });
}

function ownKey() {
  return createPublicKey({ key: Buffer.from(trust.clientKey()), type: 'spki', format: 'der' });
}

/** A TLS proxy with a certificate of its own, which passes everything on and reads it. */
async function startProxy(target: AgentAddress) {
  const dir = mkdtempSync(join(tmpdir(), 'drover-proxy-'));
  using identity = await HerdIdentity.open({ dir, agentId: 'agent-1' });
  rmSync(dir, { recursive: true });
  const { cert, key } = identity.certificate;
  let heard = '';
  const sockets = new Set<TLSSocket>();
  const server = createTlsServer({ cert, key, ALPNProtocols: ['h2'] }, (client) => {
    const agent = connectTls({ ...target, rejectUnauthorized: false, ALPNProtocols: ['h2'] });
    for (const socket of [client, agent]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('data', (data: Buffer) => (heard += data.toString('latin1')));
      socket.once('close', () => sockets.delete(socket));
    }
    client.pipe(agent).pipe(client);
  });
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as { port: number };
  return { address: { host: '127.0.0.1', port }, plaintext: () => heard };
}
