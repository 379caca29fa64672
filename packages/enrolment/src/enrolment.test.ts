import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Code, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { AgentIdentity, type AgentIdentityOptions } from '@drover/agent-identity';
import {
  agentKeyFromJwk,
  createProver,
  EnrolmentService,
  newAgentKeyJwk,
  type KeyJwk,
} from '@drover/enrolment-protocol';
import { FailedSignIns } from '@drover/access';
import { systemClock, type Clock, type Principal } from '@drover/lease-kit';
import { createMemoryStore, type DroverStore } from '@drover/lease-store';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { createRpcHost, peerFrom, principalFrom, type RpcHost } from '@drover/rpc-host';
import { decodeJwt, SignJWT } from 'jose';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { EnrolmentCallLimits } from './call-limits.ts';
import { EnrolmentAdmission } from './enrolment-admission.ts';
import { EnrolmentAuthority, type EnrolmentAuthorityOptions } from './enrolment-authority.ts';
import { registerEnrolmentService } from './enrolment-service.ts';
import { newEnrolmentToken } from './enrolment-token.ts';

const operator: { readonly principal: Principal } = { principal: { kind: 'user', id: 'ann' } };
const authorityName = 'build.example:1';
const call = { service: 'a.B', method: 'C' };
const url = `https://${authorityName}/a.B/C`;

let store: DroverStore;
let dir: string;
const cleanups: (() => unknown)[] = [];
beforeEach(() => {
  store = createMemoryStore();
  dir = mkdtempSync(join(tmpdir(), 'drover-enrolment-'));
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await store.close();
  rmSync(dir, { recursive: true });
});

function authorityOf(options: EnrolmentAuthorityOptions = {}, clock: Clock = systemClock): EnrolmentAuthority {
  const authority = new EnrolmentAuthority(options, { store: store.enrolments, signals: store.signals, clock });
  cleanups.push(() => authority.stop());
  return authority;
}

/** A host that serves enrolment. */
async function serve(
  authority: EnrolmentAuthority,
  limits: Partial<EnrolmentCallLimits> = {},
  failures = new FailedSignIns(),
): Promise<RpcHost> {
  const host = createRpcHost(
    { host: '127.0.0.1', port: 0 },
    {
      principalOf: (incoming) => authority.proveKey(incoming),
      routes: (router) =>
        registerEnrolmentService(
          router,
          {
            authority,
            principalOf: ({ values }) => principalFrom(values),
            peerOf: ({ values }) => peerFrom(values),
            failures,
          },
          limits,
        ),
    },
  );
  cleanups.push(() => host.stop({ graceMs: 0 }));
  await host.start();
  return host;
}

/** An agent of this machine. */
async function identify(
  host: RpcHost,
  options: Partial<AgentIdentityOptions> & { readonly clock?: Clock } = {},
): Promise<AgentIdentity> {
  const { clock = systemClock, ...rest } = options;
  const client = createClient(EnrolmentService, createGrpcTransport({ baseUrl: host.url }));
  const identity = await AgentIdentity.open(
    { dir: join(dir, rest.agentId ?? 'a1'), agentId: 'a1', name: 'box', pools: [], ...rest },
    { servers: [{ baseUrl: host.url, client }], clock },
  );
  cleanups.push(() => identity[Symbol.dispose]());
  return identity;
}

async function makeToken(changes: { usesMax?: number; mayReplace?: boolean; pools?: string[] } = {}): Promise<string> {
  const { text, tokenId, secretHash } = newEnrolmentToken();
  const draft = {
    tokenId,
    secretHash,
    note: '',
    validMs: 60_000,
    usesMax: 1,
    mayReplace: false,
    pools: [],
    ...changes,
  };
  await store.enrolments.createToken(draft, operator);
  return text;
}

const show = (authority: EnrolmentAuthority, header: Record<string, string>, more: object = {}) =>
  authority.authenticate({ ...call, authority: authorityName, header: new Headers(header), ...more });

const code = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'none',
    (error: { code?: unknown }) => error.code,
  );

const fromWire = (error: unknown): never => {
  throw droverErrorFromConnect(error);
};

/** A server, and an agent that is enrolled with it. */
async function enrolledAgent(options: EnrolmentAuthorityOptions = {}) {
  const authority = authorityOf(options);
  const host = await serve(authority);
  const identity = await identify(host, { enrolmentToken: await makeToken({ usesMax: 9 }) });
  await identity.enrolled();
  return { authority, host, identity };
}

describe('an agent that is enrolled', () => {
  test('shows a credential that every server of the fleet knows', async () => {
    const { authority, identity } = await enrolledAgent({ sealSecret: 'the same on every server' });
    expect(await show(authority, await identity.headers(url))).toEqual({ kind: 'agent', id: 'a1' });
    const other = authorityOf({ sealSecret: 'the same on every server' });
    expect(await show(other, await identity.headers(url))).toEqual({ kind: 'agent', id: 'a1' });
    // A server with another secret can check, and cannot sign.
    const stranger = authorityOf({ sealSecret: 'something else' });
    const [record] = await store.enrolments.enrolments(['a1'], operator);
    expect(await code(stranger.issue(record!, operator.principal))).toBe('CREDENTIAL_KEY_SEALED');
    expect((await store.enrolments.credentialKeys(operator))[0]!.sealedPrivateKey).toMatch(/^gcm\./);
    expect(statSync(join(dir, 'a1/agent-key.json')).mode & 0o777).toBe(0o600);
  });

  test('goes on after a restart with what it has, without a token', async () => {
    const { authority, host, identity } = await enrolledAgent();
    const again = await identify(host);
    expect(again.wasEnrolled).toBe(true);
    expect(again.key.thumbprint).toBe(identity.key.thumbprint);
    expect(await show(authority, await again.headers(url))).toMatchObject({ id: 'a1' });
  });

  test('renews its credential before it runs out', async () => {
    const { authority, identity } = await enrolledAgent({ credentialMs: 1_500 });
    const shown = async () => (await identity.headers(url))['authorization']!;
    const first = await shown();
    await expect.poll(shown, { timeout: 10_000 }).not.toBe(first);
    expect(await show(authority, await identity.headers(url))).toMatchObject({ id: 'a1' });
  });

  test('allows for a clock that is wrong, by what the server says', async () => {
    const clock: Clock = { ...systemClock, wallMs: () => Date.now() - 3_600_000 };
    const authority = authorityOf();
    const host = await serve(authority);
    const identity = await identify(host, { clock, enrolmentToken: await makeToken() });
    await identity.enrolled();
    expect(await show(authority, await identity.headers(url))).toMatchObject({ id: 'a1' });
  });
});

describe('refused is', () => {
  test('a credential that somebody else has signed, or changed', async () => {
    const { authority, identity } = await enrolledAgent();
    const { authorization = '' } = await identity.headers(url);
    const [, token = ''] = authorization.split(' ');
    const claims = { ...decodeJwt(token), sub: 'a2' };
    const [key] = await store.enrolments.credentialKeys(operator);
    for (const kid of [key!.keyId, 'another']) {
      const signer = await agentKeyFromJwk(await newAgentKeyJwk());
      const header = { alg: 'EdDSA', typ: 'drover-agent+jwt', kid };
      const forged = await new SignJWT(claims).setProtectedHeader(header).sign(signer.privateKey);
      const proof = { authorization: `DPoP ${forged}`, dpop: await createProver(identity.key, Date.now)({ url }) };
      expect(await code(show(authority, proof))).toBe('CREDENTIAL_INVALID');
    }
    const none = Buffer.from('{"alg":"none","typ":"drover-agent+jwt"}').toString('base64url');
    const unsigned = `DPoP ${none}.${token.split('.')[1]}.`;
    expect(await code(show(authority, { ...(await identity.headers(url)), authorization: unsigned }))).toBe(
      'CREDENTIAL_INVALID',
    );
  });

  test('a stolen credential, with another key or without a proof', async () => {
    const { authority, identity } = await enrolledAgent();
    const { authorization = '' } = await identity.headers(url);
    const credential = authorization.slice('DPoP '.length);
    const thief = createProver(await agentKeyFromJwk(await newAgentKeyJwk()), Date.now);
    const dpop = await thief({ url, credential });
    expect(await code(show(authority, { authorization, dpop }))).toBe('CREDENTIAL_KEY_MISMATCH');
    expect(await code(show(authority, { authorization }))).toBe('PROOF_INVALID');
  });

  test('a proof that was used before, for another call or another server', async () => {
    const { authority, identity } = await enrolledAgent();
    const header = await identity.headers(url);
    await show(authority, header);
    expect(await code(show(authority, header))).toBe('PROOF_REPLAYED');
    const next = await identity.headers(url);
    expect(await code(show(authority, next, { method: 'D' }))).toBe('PROOF_INVALID');
    expect(await code(show(authority, next, { authority: 'other.example' }))).toBe('PROOF_INVALID');
    // The refusals used nothing up.
    await show(authority, next);
  });

  test('a proof for a name that is none of the server, though its call says so', async () => {
    const { identity } = await enrolledAgent();
    const ours = authorityOf({ authorities: [authorityName] });
    await show(ours, await identity.headers(url), { authority: 'behind.proxy' });
    // Passed on by somebody whom the agent took for a server.
    const passedOn = await identity.headers('https://evil.example/a.B/C');
    expect(await code(show(ours, passedOn, { authority: 'evil.example' }))).toBe('PROOF_INVALID');
  });

  test('a credential that has expired', async () => {
    const { authority, identity } = await enrolledAgent({ credentialMs: 2_000 });
    const later: Clock = { ...systemClock, wallMs: () => Date.now() + 40_000 };
    const header = await identity.headers(url);
    expect(await code(show(authorityOf({}, later), header))).toBe('CREDENTIAL_EXPIRED');
    identity.learn({ code: 'CREDENTIAL_EXPIRED', message: '' });
    expect(await show(authority, await identity.headers(url))).toMatchObject({ id: 'a1' });
  });

  test('a client certificate of another agent', async () => {
    const { authority, identity } = await enrolledAgent();
    const with_ = async (certificateNames: string[]) =>
      code(show(authority, await identity.headers(url), { certificateNames }));
    expect(await with_(['a2', 'x'])).toBe('CERTIFICATE_MISMATCH');
    expect(await with_([])).toBe('CERTIFICATE_MISMATCH');
    expect(await with_(['a1'])).toBe('none');
  });

  test('a second machine with a one-time token, or with the id of another', async () => {
    const { host } = await enrolledAgent();
    const once = await makeToken();
    const race = await Promise.all([
      identify(host, { agentId: 'b1', enrolmentToken: once }),
      identify(host, { agentId: 'b2', enrolmentToken: once }),
    ]);
    const codes = await Promise.all(race.map((identity) => code(identity.enrolled())));
    expect(codes.sort()).toEqual(['ENROLMENT_TOKEN_USED', 'none']);
    const taker = await identify(host, { dir: join(dir, 'taker'), enrolmentToken: await makeToken() });
    expect(await code(taker.enrolled())).toBe('AGENT_ID_TAKEN');
    await expect(taker.refused).rejects.toMatchObject({ code: 'AGENT_ID_TAKEN' });
    const other = await identify(host, { agentId: 'b3', enrolmentToken: 'drover_enrol_nonsense' });
    expect(await code(other.enrolled())).toBe('ENROLMENT_TOKEN_INVALID');
  });
});

test('a machine without a token waits until it is approved, or sent away', async () => {
  const host = await serve(authorityOf());
  const [a, b] = [await identify(host, { agentId: 'a' }), await identify(host, { agentId: 'b' })];
  const waiting = [code(a.enrolled()), code(b.enrolled())];
  await expect.poll(async () => (await store.enrolments.pending({ limit: 9 }, operator)).length).toBe(2);
  const [first] = await store.enrolments.pending({ limit: 1 }, operator);
  expect(first).toMatchObject({ agentId: 'a', keyThumbprint: a.key.thumbprint, address: '127.0.0.1', name: 'box' });
  await store.enrolments.approve({ agentId: 'a', pools: [] }, operator);
  await store.enrolments.reject({ agentId: 'b' }, operator);
  for (const agentId of ['a', 'b']) store.signals.announce({ kind: 'enrolment', agentId });
  expect(await Promise.all(waiting)).toEqual(['none', 'ENROLMENT_REJECTED']);
  const closed = await serve(authorityOf({ anonymous: false }));
  expect(await code((await identify(closed, { agentId: 'c' })).enrolled())).toBe('ENROLMENT_CLOSED');
});

test('machines that wait keep neither those of other addresses out, nor enrolled agents from renewing', async () => {
  const { authority } = await enrolledAgent();
  const host = await serve(authority, { applicationsPerAddressMax: 2, applicationsMax: 3 });
  const client = createClient(EnrolmentService, createGrpcTransport({ baseUrl: host.url }));
  const ending = new AbortController();
  cleanups.push(() => ending.abort());
  const prove = async (method: string, key = newAgentKeyJwk()) => {
    const prover = createProver(await agentKeyFromJwk(await key), Date.now);
    const dpop = await prover({ url: `${host.url}/${EnrolmentService.typeName}/${method}` });
    return { headers: { dpop }, signal: ending.signal };
  };
  const enrol = async (agentId: string, more: object = {}) =>
    code(client.enrol({ agentId, wait: { seconds: 60n }, ...more }, await prove('Enrol')).catch(fromWire));
  const waiting = [enrol('w1'), enrol('w2')];
  await expect.poll(async () => (await store.enrolments.pending({ limit: 9 }, operator)).length).toBe(2);
  expect(await enrol('w3')).toBe('ENROLMENTS_BUSY');
  const agent = JSON.parse(readFileSync(join(dir, 'a1/agent-key.json'), 'utf8')) as Promise<KeyJwk>;
  const renewed = await client.renewCredential({}, await prove('RenewCredential', agent));
  expect(renewed.credential?.agentId).toBe('a1');
  ending.abort();
  await Promise.all(waiting);
});

test('who tries registration tokens waits, with a right one too', async () => {
  const host = await serve(authorityOf(), {}, new FailedSignIns({ burst: 2, refillMs: 60_000 }));
  const client = createClient(EnrolmentService, createGrpcTransport({ baseUrl: host.url }));
  const enrol = async (enrolmentToken: string) => {
    const prover = createProver(await agentKeyFromJwk(await newAgentKeyJwk()), Date.now);
    const dpop = await prover({ url: `${host.url}/${EnrolmentService.typeName}/Enrol` });
    return code(client.enrol({ agentId: 'a1', enrolmentToken }, { headers: { dpop } }).catch(fromWire));
  };
  const right = await makeToken();
  const wrong = `${right.slice(0, -1)}${right.endsWith('A') ? 'B' : 'A'}`;
  expect(await enrol(wrong)).toBe('ENROLMENT_TOKEN_INVALID');
  expect(await enrol(newEnrolmentToken().text)).toBe('ENROLMENT_TOKEN_INVALID');
  expect(await enrol(wrong)).toBe('SIGN_INS_LIMITED');
  expect(await enrol(right)).toBe('SIGN_INS_LIMITED');
  // Who shows none waits for approval as before.
  expect(await enrol('')).toBe('none');
});

test('a stranger cannot send much', async () => {
  const host = await serve(authorityOf());
  const client = createClient(EnrolmentService, createGrpcTransport({ baseUrl: host.url }));
  const prover = createProver(await agentKeyFromJwk(await newAgentKeyJwk()), Date.now);
  const dpop = await prover({ url: `${host.url}/${EnrolmentService.typeName}/Enrol` });
  const call = client.enrol({ agentId: 'a1', name: 'x'.repeat(2 ** 20) }, { headers: { dpop } });
  await expect(call).rejects.toMatchObject({ code: Code.ResourceExhausted });
});

describe('who is locked out', () => {
  /** Which sessions a server has, and why they were ended. */
  function sessionsOf(admission: EnrolmentAdmission) {
    const evicted: Record<string, string> = {};
    admission.start({
      evict: (agentId, error) => {
        evicted[agentId] = error.code;
        return true;
      },
      holds: () => true,
    });
    cleanups.push(() => admission[Symbol.dispose]());
    return evicted;
  }

  test('a revoked agent loses its session on every server at once, and comes back when an operator says so', async () => {
    const { authority, host, identity } = await enrolledAgent();
    const elsewhere = authorityOf();
    const admission = new EnrolmentAdmission({ required: true }, elsewhere);
    const evicted = sessionsOf(admission);
    const principal = await show(elsewhere, await identity.headers(url));
    const context = { principal, signal: new AbortController().signal };
    await admission.admit('a1', context);
    await admission.confirm('a1');
    await store.enrolments.revoke('a1', operator);
    store.signals.announce({ kind: 'enrolment', agentId: 'a1' });
    await expect.poll(() => evicted['a1']).toBe('AGENT_REVOKED');
    const header = await identity.headers(url);
    expect(await code(show(authority, header))).toBe('AGENT_REVOKED');
    const again = await identify(host);
    again.learn({ code: 'CREDENTIAL_EXPIRED', message: '' });
    expect(await code(again.headers(url))).toBe('AGENT_REVOKED');
    await store.enrolments.approve({ agentId: 'a1', pools: [] }, operator);
    store.signals.announce({ kind: 'enrolment', agentId: 'a1' });
    const back = await identify(host);
    await back.enrolled();
    expect(await show(authority, await back.headers(url))).toMatchObject({ id: 'a1' });
  });

  test('an agent that is revoked after a look passed over the opening of its session', async () => {
    const ticks: (() => void)[] = [];
    const clock: Clock = { ...systemClock, schedule: (_ms, run) => (ticks.push(run), { cancel: () => undefined }) };
    const { identity } = await enrolledAgent();
    const authority = authorityOf({}, clock);
    const admission = new EnrolmentAdmission({ required: true }, authority);
    const evicted: string[] = [];
    let isOpen = false;
    admission.start({ evict: (agentId) => evicted.push(agentId) > 0, holds: () => isOpen });
    cleanups.push(() => admission[Symbol.dispose]());
    const principal = await show(authority, await identity.headers(url));
    await admission.admit('a1', { principal, signal: new AbortController().signal });
    // Many agents come at once: it waits for its turn while others are looked at.
    ticks.shift()!();
    isOpen = true;
    await admission.confirm('a1');
    await store.enrolments.revoke('a1', operator);
    store.signals.announce({ kind: 'enrolment', agentId: 'a1' });
    await expect.poll(() => evicted).toEqual(['a1']);
  });

  test('a machine whose id was enrolled anew is fenced; a signal that was lost only delays it', async () => {
    const { authority, identity } = await enrolledAgent();
    const admission = new EnrolmentAdmission({ required: true, auditMs: 20 }, authority);
    const evicted = sessionsOf(admission);
    const principal = await show(authority, await identity.headers(url));
    await admission.admit('a1', { principal, signal: new AbortController().signal });
    const token = await makeToken({ mayReplace: true });
    // No server announces this one.
    const silent = new EnrolmentAuthority({}, { store: store.enrolments, signals: createMemoryStore().signals });
    cleanups.push(() => silent.stop());
    const next = await identify(await serve(silent), { dir: join(dir, 'next'), enrolmentToken: token });
    await next.enrolled();
    await expect.poll(() => evicted['a1']).toBe('CREDENTIAL_SUPERSEDED');
    identity.learn({ code: 'CREDENTIAL_EXPIRED', message: '' });
    await expect(identity.headers(url)).rejects.toMatchObject({ code: 'CREDENTIAL_SUPERSEDED', advice: 'fenced' });
  });

  test('nobody has a session by its name alone where enrolment is required, or where the id is enrolled', async () => {
    const { authority } = await enrolledAgent();
    const context = { principal: { kind: 'agent', id: 'a1' }, signal: new AbortController().signal } as const;
    const open = new EnrolmentAdmission({ required: false }, authority);
    const strict = new EnrolmentAdmission({ required: true }, authority);
    expect(await code(open.admit('a1', context))).toBe('ENROLMENT_REQUIRED');
    expect(await code(open.admit('a2', context))).toBe('none');
    expect(await code(strict.admit('a2', context))).toBe('ENROLMENT_REQUIRED');
  });
});
