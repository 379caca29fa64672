import { Code, createClient, type Client } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { createAccessGate, FailedSignIns, rpcTable, type CredentialVerifier } from '@drover/access';
import { SandboxState, SchedulerService, type OpenWorkerSessionResponse } from '@drover/compile-protocol';
import { checkTaskToken, TaskTokenKeys } from '@drover/compile-tokens';
import { createOidcVerifier } from '@drover/identity-oidc';
import { startTestIssuer, type TestIssuer } from '@drover/identity-oidc/testing';
import { ManualClock } from '@drover/lease-kit/testing';
import { createMemoryStore, type CompileTenantDraft, type DroverStore } from '@drover/lease-store';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { createRpcHost } from '@drover/rpc-host';
import { decodeJwt, decodeProtectedHeader, SignJWT } from 'jose';
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CompileScheduler } from './compile-scheduler.ts';
import { registerSchedulerService } from './register-scheduler-service.ts';
import { SchedulerVerifier } from './scheduler-verifier.ts';

const workerToken = 'the token of all workers';
const image = `sha256:${'1'.repeat(64)}`;
const admin = { principal: { kind: 'user', id: 'root' } } as const;
let store: DroverStore;
let clock: ManualClock;
const cleanups: (() => unknown)[] = [];
beforeEach(() => {
  clock = new ManualClock(Date.now());
  store = createMemoryStore({ clock });
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await store.close();
});

/** Users of the fleet, by a bearer token that is their name. */
const fleetUsers: CredentialVerifier = {
  verify({ header, peer }) {
    const id = /^Bearer user-(\w+)$/.exec(header.get('authorization') ?? '')?.[1];
    if (id === undefined) return undefined;
    return { principal: { kind: 'user', id }, role: 'submitter', address: peer.remoteAddress, credential: 'test' };
  },
};

type SchedulerClient = Client<typeof SchedulerService>;
const as = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

/** One of the servers of the fleet. */
async function replica(): Promise<SchedulerClient> {
  const failures = new FailedSignIns({ burst: 5 });
  const scheduler = new CompileScheduler({ workerToken, keyRotateMs: 200_000 }, { store: store.compiles, clock });
  const verifier = new SchedulerVerifier({
    scheduler,
    failures,
    verifierOf: ({ issuer, audience, claim, claimValue }, uncounted) =>
      createOidcVerifier(
        { issuer, audiences: [audience], rolesClaim: claim || 'none', roles: { [claimValue]: 'submitter' } },
        { failures: uncounted },
      ),
  });
  const gate = createAccessGate({ table: rpcTable, verifiers: [verifier, fleetUsers] });
  const host = createRpcHost(
    { host: '127.0.0.1', port: 0 },
    {
      principalOf: (call) => gate.enter(call),
      routes: (router) => void registerSchedulerService(router, { scheduler, verifier, failures }),
    },
  );
  await host.start();
  cleanups.push(() => host.stop({ graceMs: 0 }));
  return createClient(SchedulerService, createGrpcTransport({ baseUrl: host.url }));
}

const tenantOf = (tenantId: string, changes: Partial<CompileTenantDraft> = {}): CompileTenantDraft => ({
  ...{ tenantId, isEnabled: true, issuer: '', audience: '', claim: '', claimValue: '', clientId: '', tokenUrl: '' },
  ...{ scope: '', users: ['ada'], images: [], workers: [], isolation: 'namespaces' },
  ...{ compilesAtOnceMax: 1_000, compilesPerMinuteMax: 10_000 },
  ...changes,
});

const open = (client: SchedulerClient, workerId = 'w1', nonce = 1) =>
  client.openWorkerSession({ workerToken, workerId, instanceNonce: new Uint8Array(16).fill(nonce) });
const registration = {
  publicAddress: '127.0.0.1:7700',
  certificateSha256: new Uint8Array(32).fill(7),
  isolation: { driver: 'namespace', level: 'namespaces', facts: { user: 'yes' } },
  ...{ slotsTotal: 4, imagesAdvertised: [], paranoid: false, version: '1.0.0', architecture: 'linux-x64' },
};
const heartbeat = { compiles: 0, slotsFree: 4, load: 0.1, imagesHeld: [image], imagesAdvertised: [], draining: false };
const reserve = { imageDigest: image, count: 4, architecture: 'linux-x64' };

/** A worker that can be chosen. */
async function workerAt(client: SchedulerClient, workerId = 'w1', nonce = 1) {
  const session = await open(client, workerId, nonce);
  const { epoch } = await client.registerWorker(registration, as(session.sessionToken));
  await client.heartbeat({ ...heartbeat, epoch }, as(session.sessionToken));
  // What the servers remember of workers may be a second old.
  clock.advance(1_001);
  return { session, epoch, keys: keysOf(session) };
}

function keysOf({ signingKeys }: Pick<OpenWorkerSessionResponse, 'signingKeys'>): TaskTokenKeys {
  const keys = new TaskTokenKeys();
  keys.replace(signingKeys);
  return keys;
}

async function codeOf(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => 'let in',
    (error: unknown) => droverErrorFromConnect(error).code,
  );
}

test('a client gets tokens that the worker takes, from whichever server', async () => {
  const [one, two] = [await replica(), await replica()];
  await store.compiles.putTenant(tenantOf('studio'), admin);
  const { epoch, keys } = await workerAt(one);
  const { places, retryAfter } = await two.reserveCompiles(reserve, as('user-ada'));
  expect(retryAfter).toBeUndefined();
  expect(places).toHaveLength(1);
  expect(places[0]).toMatchObject({ workerId: 'w1', address: '127.0.0.1:7700', isolationLevel: 'namespaces' });
  expect([...places[0]!.certificateSha256]).toEqual(Array<number>(32).fill(7));
  expect(new Set(places[0]!.taskTokens.map((token) => decodeJwt(token).jti)).size).toBe(4);
  const checks = { keys, workerId: 'w1', workerEpoch: Number(epoch), nowMs: clock.wallMs() };
  for (const token of places[0]!.taskTokens) {
    expect(await checkTaskToken(token, checks)).toMatchObject({ tenantId: 'studio', imageDigest: image });
  }
});

test('who belongs to no tenant gets nothing, whatever is asked for', async () => {
  const client = await replica();
  await store.compiles.putTenant(tenantOf('studio'), admin);
  await store.compiles.putTenant(tenantOf('lab', { users: ['bob', 'eve'] }), admin);
  await store.compiles.putTenant(tenantOf('closed', { users: ['bob'], isEnabled: false }), admin);
  await store.compiles.putTenant(tenantOf('second', { users: ['eve'] }), admin);
  await workerAt(client);
  const ask = (token: string, tenantId = '') => codeOf(client.reserveCompiles({ ...reserve, tenantId }, as(token)));
  expect(await ask('user-ada')).toBe('let in');
  expect(await ask('user-ada', 'studio')).toBe('let in');
  expect(await ask('user-ada', 'lab')).toBe('COMPILE_TENANT_DENIED');
  expect(await ask('user-ada', 'nowhere')).toBe('COMPILE_TENANT_DENIED');
  expect(await ask('user-bob', 'closed')).toBe('COMPILE_TENANT_DENIED');
  expect(await ask('user-nobody')).toBe('COMPILE_TENANT_DENIED');
  expect(await ask('user-eve')).toBe('COMPILE_INPUT_INVALID');
  expect(await ask('user-eve', 'second')).toBe('let in');
  // The session of a worker is no token of a tenant.
  const { sessionToken } = await open(client, 'w2');
  expect(await ask(sessionToken)).toBe('UNAUTHENTICATED');
});

test('a tenant’s own issuer names its people, by a claim', async () => {
  const client = await replica();
  await using issuer: TestIssuer = await startTestIssuer();
  const shared = { issuer: issuer.issuer, audience: 'drover', claim: 'team', users: [] };
  await store.compiles.putTenant(tenantOf('studio', { ...shared, claimValue: 'red' }), admin);
  await store.compiles.putTenant(tenantOf('lab', { ...shared, claimValue: 'blue' }), admin);
  // Whom an issuer calls ada is not the fleet's ada.
  await store.compiles.putTenant(tenantOf('own', { users: ['ada', 'studio/ada'] }), admin);
  await workerAt(client);
  const ask = (token: string, tenantId = '') => codeOf(client.reserveCompiles({ ...reserve, tenantId }, as(token)));
  const red = await issuer.sign({ sub: 'ada', team: ['red', 'green'] });
  expect(await ask(red)).toBe('let in');
  expect(await ask(red, 'lab')).toBe('COMPILE_TENANT_DENIED');
  expect(await ask(red, 'own')).toBe('COMPILE_TENANT_DENIED');
  expect(await ask(await issuer.sign({ sub: 'eve', team: 'green' }))).toBe('UNAUTHENTICATED');
  expect(await ask(await issuer.sign({ sub: 'eve', team: 'red', aud: 'another' }))).toBe('UNAUTHENTICATED');
  expect(await ask(await issuer.sign({ sub: 'eve', team: 'red', exp: 1 }))).toBe('TOKEN_EXPIRED');
  const forged = `${red.slice(0, red.lastIndexOf('.'))}.${'A'.repeat(86)}`;
  expect(await ask(forged)).toBe('PRINCIPAL_UNKNOWN');
});

test('sessions of workers: wrong tokens, forged ones, and another process', async () => {
  const [one, two] = [await replica(), await replica()];
  const nonce = new Uint8Array(16);
  const wrong = () => codeOf(one.openWorkerSession({ workerToken: 'x', workerId: 'w1', instanceNonce: nonce }));
  for (let tries = 0; tries < 5; tries += 1) expect(await wrong()).toBe('WORKER_TOKEN_WRONG');
  expect(await wrong()).toBe('SIGN_INS_LIMITED');
  // So does the right one: an answer would tell.
  expect(await codeOf(open(one))).toBe('SIGN_INS_LIMITED');

  const { session, epoch } = await workerAt(two);
  const beat = (token: string) => codeOf(two.heartbeat({ ...heartbeat, epoch }, as(token)));
  expect(await beat(session.sessionToken)).toBe('let in');
  const { kid, typ } = decodeProtectedHeader(session.sessionToken);
  const forged = new SignJWT({ nonce: '00', sub: 'w1' }).setExpirationTime('1h');
  const hmac = forged
    .setProtectedHeader({ alg: 'HS256', kid: kid!, typ: typ! })
    .sign(session.signingKeys[0]!.publicKey);
  expect(await beat(await hmac)).toBe('WORKER_SESSION_INVALID');
  await store.compiles.putTenant(tenantOf('studio'), admin);
  const { places } = await two.reserveCompiles(reserve, as('user-ada'));
  expect(await beat(places[0]!.taskTokens[0]!)).toBe('WORKER_SESSION_INVALID');

  // The same process again is the same worker; another takes its place.
  await open(two);
  expect(await beat(session.sessionToken)).toBe('let in');
  await open(two, 'w1', 2);
  expect(await beat(session.sessionToken)).toBe('COMPILE_WORKER_SUPERSEDED');
  expect(await codeOf(two.registerWorker(registration, as(session.sessionToken)))).toBe('COMPILE_WORKER_SUPERSEDED');
});

test('a session lasts by its heartbeats, and ends without', async () => {
  const client = await replica();
  const { session, epoch } = await workerAt(client);
  let token = session.sessionToken;
  for (let beats = 0; beats < 100; beats += 1) {
    clock.advance(10_000);
    const { sessionToken } = await client.heartbeat({ ...heartbeat, epoch }, as(token));
    if (sessionToken !== '') token = sessionToken;
  }
  expect(token).not.toBe(session.sessionToken);
  expect(await codeOf(client.heartbeat({ ...heartbeat, epoch }, as(session.sessionToken)))).toBe(
    'WORKER_SESSION_INVALID',
  );
  clock.advance(700_000);
  expect(await codeOf(client.heartbeat({ ...heartbeat, epoch }, as(token)))).toBe('WORKER_SESSION_INVALID');
});

test('keys rotate while tokens are out: each is known to the worker before it signs', async () => {
  const [one, two] = [await replica(), await replica()];
  await store.compiles.putTenant(tenantOf('studio'), admin);
  const { session, epoch } = await workerAt(one);
  let token = session.sessionToken;
  const keys = keysOf(session);
  const signedBy = new Set<string>();
  let earlier: string | undefined;
  for (let beats = 0; beats < 100; beats += 1) {
    clock.advance(10_000);
    // Whichever server answers.
    const [hears, signs] = beats % 2 === 0 ? [one, two] : [two, one];
    const answer = await hears.heartbeat({ ...heartbeat, epoch }, as(token));
    if (answer.sessionToken !== '') token = answer.sessionToken;
    keys.replace(answer.signingKeys);
    expect(answer.signingKeys.length).toBeLessThanOrEqual(8);
    clock.advance(1_001);
    const { places } = await signs.reserveCompiles({ ...reserve, count: 1 }, as('user-ada'));
    const [taskToken] = places[0]!.taskTokens;
    const checks = { keys, workerId: 'w1', workerEpoch: Number(epoch), nowMs: clock.wallMs() };
    for (const out of [taskToken!, ...(earlier === undefined ? [] : [earlier])]) await checkTaskToken(out, checks);
    earlier = taskToken;
    signedBy.add(decodeProtectedHeader(taskToken!).kid!);
    await store.compiles.recordCompiles(
      [
        {
          ...{ compileId: randomUUID(), tenantId: 'studio', workerId: 'w1', startedAtMs: 0, tookMs: 0, exitCode: 0 },
          ...{ sandboxId: '', isolation: '', driver: '', imageDigest: image, compilerDigest: '', sourceDigest: '' },
          ...{ outputDigest: '', cacheKey: '', flags: [] },
        },
      ],
      admin,
    );
  }
  expect(signedBy.size).toBeGreaterThan(2);
});

test('a worker that misses two heartbeats, drains or is another one now is not chosen', async () => {
  const client = await replica();
  await store.compiles.putTenant(tenantOf('studio'), admin);
  const ask = () => codeOf(client.reserveCompiles(reserve, as('user-ada')));
  expect(await ask()).toBe('COMPILE_WORKERS_NONE');
  const { session, epoch } = await workerAt(client);
  expect(await ask()).toBe('let in');
  clock.advance(18_000);
  expect(await ask()).toBe('let in');
  clock.advance(2_000);
  expect(await ask()).toBe('COMPILE_WORKERS_NONE');
  const beat = async (changes: object) => {
    await client.heartbeat({ ...heartbeat, epoch, ...changes }, as(session.sessionToken));
    clock.advance(1_001);
  };
  await beat({});
  expect(await ask()).toBe('let in');
  await beat({ draining: true });
  expect(await ask()).toBe('COMPILE_WORKERS_NONE');
  await beat({ imagesHeld: [], imagesAdvertised: [image] });
  expect(await ask()).toBe('let in');
  const sandbox = { sandboxId: 's', tenantId: 'studio', imageDigest: image, state: SandboxState.RUNNING, execs: 1 };
  await beat({ imagesHeld: [], imagesAdvertised: [], sandboxes: [sandbox] });
  expect(await ask()).toBe('COMPILE_WORKERS_NONE');
  // Tokens carry the registration that counts.
  const again = await client.registerWorker(registration, as(session.sessionToken));
  await client.heartbeat({ ...heartbeat, epoch: again.epoch }, as(session.sessionToken));
  clock.advance(1_001);
  const { places } = await client.reserveCompiles(reserve, as('user-ada'));
  expect(decodeJwt(places[0]!.taskTokens[0]!)['worker_epoch']).toBe(Number(again.epoch));
  expect(again.epoch).toBeGreaterThan(epoch);
});

test('quotas hold over all servers, and say when to ask again', async () => {
  const clients = [await replica(), await replica()];
  await store.compiles.putTenant(tenantOf('studio', { compilesAtOnceMax: 10, compilesPerMinuteMax: 25 }), admin);
  const { session } = await workerAt(clients[0]!);
  const given = async () => {
    const answers = await Promise.allSettled(
      Array.from({ length: 8 }, (_, index) => clients[index % 2]!.reserveCompiles(reserve, as('user-ada'))),
    );
    return answers.map((answer) =>
      answer.status === 'fulfilled'
        ? answer.value.places.reduce((sum, { taskTokens }) => sum + taskTokens.length, 0)
        : droverErrorFromConnect(answer.reason),
    );
  };
  const first = await given();
  const count = (all: typeof first) => all.reduce<number>((sum, one) => sum + (typeof one === 'number' ? one : 0), 0);
  expect(count(first)).toBe(10);
  const refusal = first.find((one) => typeof one !== 'number');
  expect(refusal).toMatchObject({ code: 'COMPILE_QUOTA_REACHED', advice: 'exhausted', retryAfterMs: 1_000 });
  const compiles = Array.from({ length: 10 }, () => ({
    compileId: randomUUID(),
    tenantId: 'studio',
    imageDigest: image,
  }));
  await clients[0]!.recordCompiles({ compiles }, as(session.sessionToken));
  await clients[1]!.recordCompiles({ compiles }, as(session.sessionToken));
  expect(count(await given())).toBe(10);
  await clients[0]!.recordCompiles(
    { compiles: compiles.map((one) => ({ ...one, compileId: randomUUID() })) },
    as(session.sessionToken),
  );
  expect(count(await given())).toBe(5);
  const records = await store.compiles.records({ limit: 100 }, admin);
  expect(records).toHaveLength(20);
  expect(new Set(records.map(({ workerId }) => workerId))).toEqual(new Set(['w1']));
});

test('how a tenant signs in is told to anybody, but not to who goes through names', async () => {
  const client = await replica();
  const said = { issuer: 'https://a.invalid', audience: 'drover', clientId: 'cc', tokenUrl: '', scope: 'openid' };
  await store.compiles.putTenant(tenantOf('studio', said), admin);
  expect(await client.getTenantSignIn({ tenantId: 'studio' })).toMatchObject(said);
  for (let tries = 0; tries < 5; tries += 1) {
    expect(await codeOf(client.getTenantSignIn({ tenantId: `t${tries}` }))).toBe('COMPILE_TENANT_NOT_FOUND');
  }
  expect(await codeOf(client.getTenantSignIn({ tenantId: 'studio' }))).toBe('SIGN_INS_LIMITED');
});

test('what is asked for is checked', async () => {
  const client = await replica();
  await store.compiles.putTenant(tenantOf('studio', { images: [image] }), admin);
  await workerAt(client);
  const ask = (changes: object) => codeOf(client.reserveCompiles({ ...reserve, ...changes }, as('user-ada')));
  expect(await ask({ imageDigest: 'latest' })).toBe('COMPILE_INPUT_INVALID');
  expect(await ask({ count: 0 })).toBe('COMPILE_INPUT_INVALID');
  expect(await ask({ count: 257 })).toBe('COMPILE_INPUT_INVALID');
  expect(await ask({ imageDigest: `sha256:${'2'.repeat(64)}` })).toBe('COMPILE_IMAGE_DENIED');
  expect(await ask({ paranoid: true })).toBe('COMPILE_WORKERS_NONE');
  expect(await ask({ architecture: 'linux-arm64' })).toBe('COMPILE_WORKERS_NONE');
  await expect(client.reserveCompiles(reserve)).rejects.toMatchObject({ code: Code.Unauthenticated });
});
