import { create } from '@bufbuild/protobuf';
import { createClient, type Client } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';
import { AccessService, GetJobResponseSchema, JobService, Role, WatchJobResponseSchema } from '@drover/control-api';
import { ManualClock } from '@drover/lease-kit/testing';
import { createMemoryStore, type AccessStore, type DroverStore } from '@drover/lease-store';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { createRpcHost } from '@drover/rpc-host';
import { ByteStream } from '@drover/standard-protocols';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createAccessGate } from './access-gate.ts';
import { registerAccessService } from './access-service.ts';
import { auditInterceptor } from './audit-interceptor.ts';
import { callerFrom } from './caller.ts';
import { endWithCredential } from './end-with-credential.ts';
import { FailedSignIns } from './failed-sign-ins.ts';
import { changeFrom } from './pending-change.ts';
import { rpcTable } from './rpc-table.ts';
import { newTokenSecret, tokenHash } from './token-secret.ts';
import { createTokenVerifier } from './token-verifier.ts';

let parts: AsyncDisposableStack;
let clock: ManualClock;
let store: DroverStore;
/** How often the store was asked for a token. */
let lookups: number;
let handlersEnded: number;
let bytesTaken: number;
let url: string;

beforeEach(async () => {
  parts = new AsyncDisposableStack();
  clock = new ManualClock(Date.UTC(2026, 0));
  lookups = 0;
  handlersEnded = 0;
  bytesTaken = 0;
  store = parts.use(createMemoryStore({ clock }));
  url = await serve(store);
});
afterEach(() => parts.disposeAsync());

/** A server of the store, with the parts that every server has in front of its services. */
async function serve(shared: DroverStore): Promise<string> {
  const access: Pick<AccessStore, 'useToken'> = {
    useToken: (hash, context) => {
      lookups += 1;
      return shared.access.useToken(hash, context);
    },
  };
  const failures = new FailedSignIns({ burst: 3, refillMs: 1_000 }, clock);
  const tokens = parts.use(createTokenVerifier({ store: { access, signals: shared.signals }, failures, clock }));
  const bootstrap = {
    verify: ({ header }: { header: Headers }) =>
      header.get('authorization') === 'Bearer first'
        ? {
            principal: { kind: 'user', id: 'root' } as const,
            role: 'admin' as const,
            address: '::1',
            credential: 'first',
          }
        : undefined,
  };
  const gate = createAccessGate({ table: rpcTable, verifiers: [tokens, bootstrap] });
  const host = createRpcHost(
    { host: '127.0.0.1', port: 0 },
    {
      principalOf: (call) => gate.enter(call),
      checkMethods: (methods) => gate.checkMethods(methods),
      interceptors: [endWithCredential({ clock }), auditInterceptor({ audit: shared.audit })],
      routes(router) {
        registerAccessService(router, { store: shared });
        router.service(JobService, {
          getJob: (_, { values }) =>
            create(GetJobResponseSchema, { job: { submitter: callerFrom(values).principal.id } }),
          cancelJob: ({ jobId }, { values }) => {
            if (jobId === 'fails') throw new Error('as told');
            if (jobId !== 'silent') changeFrom(values)?.note({ subject: `job:${jobId}`, after: { cancelled: true } });
            return {};
          },
          async *watchJob(_, { signal }) {
            yield create(WatchJobResponseSchema);
            await new Promise((resolve) => signal.addEventListener('abort', resolve));
            handlersEnded += 1;
          },
        });
        router.service(ByteStream, {
          async write(requests) {
            try {
              for await (const { data } of requests) bytesTaken += data.byteLength;
            } finally {
              handlersEnded += 1;
            }
            return { committedSize: BigInt(bytesTaken) };
          },
        });
      },
    },
  );
  await host.start();
  parts.defer(() => host.stop({ graceMs: 0 }));
  return host.url;
}

function clientsOf(token: string | undefined, baseUrl = url) {
  const sessionManager = new Http2SessionManager(baseUrl);
  parts.defer(() => sessionManager.abort());
  const transport = createGrpcTransport({
    baseUrl,
    sessionManager,
    interceptors: [
      (next) => (request) => {
        if (token !== undefined) request.header.set('authorization', `Bearer ${token}`);
        return next(request);
      },
    ],
  });
  return {
    jobs: createClient(JobService, transport),
    access: createClient(AccessService, transport),
    bytes: createClient(ByteStream, transport),
  };
}

async function newToken(changes: object = {}): Promise<{ tokenId: string; secret: string }> {
  const request = { user: 'ci', role: Role.SUBMITTER, ...changes };
  const { token, secret } = await clientsOf('first').access.createToken(request);
  return { tokenId: token!.tokenId, secret };
}

/** A write that has sent one byte, and another one when `more` resolves. */
async function writing(token: string, more: Promise<void>, baseUrl = url) {
  async function* requests() {
    yield { data: Uint8Array.of(1) };
    await more;
    yield { data: Uint8Array.of(2), finishWrite: true };
  }
  const answer = clientsOf(token, baseUrl).bytes.write(requests());
  answer.catch(() => undefined);
  await expect.poll(() => bytesTaken).toBeGreaterThan(0);
  return { answer };
}

const failureOf = (call: Promise<unknown>) => call.then(() => undefined, droverErrorFromConnect);
const get = (token: string | undefined) => failureOf(clientsOf(token).jobs.getJob({ jobId: 'a' }));

/** Watches until the call ends. */
async function watched(jobs: Client<typeof JobService>) {
  const watch = jobs.watchJob({})[Symbol.asyncIterator]();
  await watch.next();
  return failureOf(watch.next());
}

describe('a token', () => {
  test('lets its bearer in as its user; the store is asked once', async () => {
    const { secret } = await newToken();
    const { jobs } = clientsOf(secret);
    for (let times = 0; times < 5; times += 1) expect((await jobs.getJob({})).job?.submitter).toBe('ci');
    expect(lookups).toBe(1);
    clock.advance(30_000);
    await jobs.getJob({});
    expect(lookups).toBe(2);
  });

  test('ends when it is revoked, on every server, with the calls that are open', async () => {
    const { tokenId, secret } = await newToken();
    const there = clientsOf(secret, await serve(store));
    const watching = watched(there.jobs);
    await expect.poll(() => lookups).toBe(1);
    await clientsOf('first').access.revokeToken({ tokenId });
    expect(await watching).toMatchObject({ code: 'TOKEN_REVOKED', advice: 'denied' });
    await expect.poll(() => handlersEnded).toBe(1);
    expect(await failureOf(there.jobs.getJob({}))).toMatchObject({ code: 'TOKEN_REVOKED' });
    expect(await get(secret)).toMatchObject({ code: 'TOKEN_REVOKED' });
  });

  test('ends when it expires, with the calls that are open', async () => {
    const { secret } = await newToken({ lifetime: { seconds: 60n } });
    const watching = watched(clientsOf(secret).jobs);
    await expect.poll(() => clock.pendingCalls).toBe(2);
    clock.advance(60_000);
    expect(await watching).toMatchObject({ code: 'TOKEN_EXPIRED' });
    expect(await get(secret)).toMatchObject({ code: 'TOKEN_EXPIRED', advice: 'denied' });
  });
});

describe('what a caller sends piece by piece', () => {
  test('ends when the token is revoked on another server', async () => {
    const { tokenId, secret } = await newToken();
    const never = Promise.withResolvers<void>();
    const { answer } = await writing(secret, never.promise, await serve(store));
    await clientsOf('first').access.revokeToken({ tokenId });
    expect(await failureOf(answer)).toMatchObject({ code: 'TOKEN_REVOKED', advice: 'denied' });
    await expect.poll(() => handlersEnded).toBe(1);
    never.resolve();
  });

  test('ends when the token expires, and is taken whole before', async () => {
    const { secret } = await newToken({ lifetime: { seconds: 60n } });
    const whole = await writing(secret, Promise.resolve());
    expect(await whole.answer).toMatchObject({ committedSize: 2n });
    bytesTaken = 0;
    const never = Promise.withResolvers<void>();
    const { answer } = await writing(secret, never.promise);
    clock.advance(60_000);
    expect(await failureOf(answer)).toMatchObject({ code: 'TOKEN_EXPIRED' });
    never.resolve();
  });
});

describe('a credential that is not right', () => {
  test('is another answer than none, and than a role that is missing', async () => {
    expect(await get(undefined)).toMatchObject({ code: 'UNAUTHENTICATED' });
    expect(await get('drv_guessed')).toMatchObject({ code: 'PRINCIPAL_UNKNOWN' });
    const { secret } = await newToken();
    expect(await get(`${secret.slice(0, -1)}${secret.endsWith('0') ? '1' : '0'}`)).toMatchObject({
      code: 'PRINCIPAL_UNKNOWN',
      message: expect.stringMatching(/not whole/),
    });
    // Mistyped ones are known without the store.
    expect(lookups).toBe(0);
    expect(await get(newTokenSecret())).toMatchObject({ code: 'PRINCIPAL_UNKNOWN' });
    expect(await failureOf(clientsOf(secret).access.listTokens({}))).toMatchObject({
      code: 'ROLE_MISSING',
      details: { needs: 'admin', has: 'submitter' },
    });
    const limited = await newToken({ role: Role.OPERATOR, pools: ['gpu'] });
    expect(await failureOf(clientsOf(limited.secret).access.listAudit({}))).toMatchObject({
      code: 'POOL_OUT_OF_SCOPE',
      details: { pools: 'gpu' },
    });
  });

  test('again and again: its address waits, but not for those that are known', async () => {
    const { secret } = await newToken();
    const other = await newToken();
    expect(await get(secret)).toBeUndefined();
    for (let times = 0; times < 3; times += 1) expect(await get(newTokenSecret())).toMatchObject({ advice: 'denied' });
    expect(await get(newTokenSecret())).toMatchObject({ code: 'SIGN_INS_LIMITED', retryAfterMs: 1_000 });
    expect(await get(other.secret)).toMatchObject({ code: 'SIGN_INS_LIMITED' });
    expect(await get(secret)).toBeUndefined();
    expect(lookups).toBe(4);
    clock.advance(1_000);
    expect(await get(other.secret)).toBeUndefined();
  });

  test('of which the store cannot say anything lets nobody in', async () => {
    const { secret } = await newToken();
    await store.close();
    expect(await get(secret)).toMatchObject({ code: 'STORE_CLOSED' });
  });
});

describe('the audit', () => {
  const lines = async () =>
    (await clientsOf('first').access.listAudit({})).entries.map(({ who, action, subject, before, after, address }) => {
      expect(address).not.toBe('');
      return { who, action, subject, before, after };
    });

  test('has each change once, and no secret', async () => {
    const { tokenId, secret } = await newToken({ comment: 'the build' });
    const { jobs } = clientsOf(secret);
    await jobs.cancelJob({ jobId: 'j1' });
    await jobs.cancelJob({ jobId: 'silent' });
    await failureOf(jobs.cancelJob({ jobId: 'fails' }));
    await jobs.getJob({});
    await clientsOf('first').access.revokeToken({ tokenId });
    const token = { tokenId, user: 'ci', role: 'submitter', pools: [], comment: 'the build', createdBy: 'user:root' };
    expect(await lines()).toEqual(
      [
        {
          who: 'user:root',
          action: 'token.revoke',
          subject: `token:${tokenId}`,
          before: expect.objectContaining(token),
        },
        { who: 'user:ci', action: 'job.cancel', subject: '' },
        { who: 'user:ci', action: 'job.cancel', subject: 'job:j1', after: { cancelled: true } },
        {
          who: 'user:root',
          action: 'token.create',
          subject: `token:${tokenId}`,
          after: expect.objectContaining(token),
        },
      ].map((line) => ({ before: undefined, after: undefined, ...line })),
    );
    const stored = JSON.stringify(await lines());
    expect(stored).not.toContain(secret.slice(4, 20));
    expect(stored).not.toContain(tokenHash(secret)!.toString('hex'));
  });

  test('is asked by who, what and when, in pages', async () => {
    for (let times = 0; times < 3; times += 1) await newToken();
    const { access } = clientsOf('first');
    const page = await access.listAudit({ pageSize: 2, action: 'token', who: 'root' });
    expect(page.entries).toHaveLength(2);
    const rest = await access.listAudit({ pageSize: 2, pageToken: page.nextPageToken });
    expect([rest.entries.length, rest.nextPageToken]).toEqual([1, '']);
    expect((await access.listAudit({ who: 'ci' })).entries).toEqual([]);
    expect(await failureOf(access.listAudit({ pageToken: 'x' }))).toMatchObject({ code: 'INVALID_PAGE_TOKEN' });
  });
});

describe('a token that is asked for', () => {
  test.each<[string, object, string]>([
    ['for nobody', { user: '' }, 'INVALID_USER'],
    ['for a name that could be two', { user: 'a b' }, 'INVALID_USER'],
    ['without a role', { role: Role.UNSPECIFIED }, 'INVALID_ROLE'],
    ['for an admin of one pool', { role: Role.ADMIN, pools: ['gpu'] }, 'INVALID_POOLS'],
    ['for a pool without a name', { pools: [''] }, 'INVALID_POOLS'],
    ['for too long', { lifetime: { seconds: 11n * 366n * 86_400n } }, 'INVALID_LIFETIME'],
    ['for ever and for a time', { lifetime: { seconds: 60n }, neverExpires: true }, 'INVALID_LIFETIME'],
    ['with a novel', { comment: 'x'.repeat(257) }, 'INVALID_COMMENT'],
  ])('%s is refused', async (_, changes, code) => {
    expect(await failureOf(newToken(changes))).toMatchObject({ code, advice: 'fix-input' });
  });

  test('says who its bearer is, and is listed without its secret', async () => {
    const { tokenId, secret } = await newToken({ pools: ['gpu', 'gpu'], neverExpires: true });
    expect(await clientsOf(secret).access.whoAmI({})).toMatchObject({
      kind: 'user',
      id: 'ci',
      role: Role.SUBMITTER,
      pools: ['gpu'],
      credential: `token ${tokenId.slice(0, 8)}`,
    });
    const { tokens } = await clientsOf('first').access.listTokens({});
    expect(tokens).toMatchObject([{ tokenId, createdBy: 'user:root' }]);
    expect(tokens[0]?.expiresAt).toBeUndefined();
    expect(await clientsOf(undefined).access.getSignIn({})).toMatchObject({ issuer: '' });
  });
});
