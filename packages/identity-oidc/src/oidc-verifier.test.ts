import { FailedSignIns, type ArrivingCall, type Caller } from '@drover/access';
import { SignJWT, UnsecuredJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { OidcOptions } from './oidc-options.ts';
import { createOidcVerifier } from './oidc-verifier.ts';
import { startTestIssuer, type TestIssuer } from './testing/index.ts';

let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await startTestIssuer();
});
afterAll(() => issuer[Symbol.asyncDispose]());

function verifierOf(changes: Partial<OidcOptions> = {}, failures = new FailedSignIns()) {
  const options: OidcOptions = {
    issuer: issuer.issuer,
    audiences: ['drover'],
    roles: { devs: 'submitter', ops: 'operator', admins: 'admin' },
    keysCooldownMs: 0,
    ...changes,
  };
  const verifier = createOidcVerifier(options, { failures });
  return async (token: string, address = '192.0.2.1'): Promise<Caller | undefined> => {
    const call: ArrivingCall = {
      service: 's',
      method: 'm',
      header: new Headers({ authorization: `Bearer ${token}` }),
      peer: { remoteAddress: address, encrypted: true },
      signal: new AbortController().signal,
    };
    return verifier.verify(call);
  };
}

describe('a token that is right', () => {
  test('names its user, and a role by the groups that are mapped', async () => {
    const verify = verifierOf();
    expect(await verify(await issuer.sign({ roles: ['devs', 'ops', 'others'] }))).toMatchObject({
      principal: { kind: 'user', id: 'ada' },
      role: 'operator',
      address: '192.0.2.1',
      credential: 'OpenID Connect',
    });
    const plain = await verify(await issuer.sign({ roles: ['others', '__proto__', 'constructor'] }));
    expect(plain?.role).toBeUndefined();
    expect(plain?.pools).toBeUndefined();
  });

  test('is asked for the claims that the configuration names', async () => {
    const verify = verifierOf({ userClaim: 'email', rolesClaim: 'realm_access.roles', defaultRole: 'viewer' });
    const caller = (claims: object) =>
      issuer.sign({ email: 'ada@example.org', ...claims }).then((token) => verify(token));
    expect(await caller({ realm_access: { roles: ['devs'] } })).toMatchObject({
      principal: { id: 'ada@example.org' },
      role: 'submitter',
    });
    expect(await caller({})).toMatchObject({ role: 'viewer' });
    expect(await caller({ 'realm_access.roles': 'admins devs' })).toMatchObject({ role: 'admin' });
    await expect(caller({ email: 'a\u0000b' })).rejects.toMatchObject({ code: 'PRINCIPAL_UNKNOWN' });
    await expect(caller({ email: undefined })).rejects.toThrow(/email names no user/);
  });

  test('limits its bearer to pools where pools are mapped', async () => {
    const verify = verifierOf({ poolsClaim: 'teams', pools: { render: ['gpu', 'cpu'], build: ['cpu'], all: ['*'] } });
    const pools = async (roles: string, teams: readonly string[]) => verify(await issuer.sign({ roles, teams }));
    expect(await pools('devs', ['render', 'build'])).toMatchObject({ role: 'submitter', pools: ['gpu', 'cpu'] });
    const everywhere = await pools('devs', ['all', 'build']);
    expect([everywhere?.role, everywhere?.pools]).toEqual(['submitter', undefined]);
    expect((await pools('devs', ['another']))?.role).toBeUndefined();
    const admin = await pools('admins', ['build']);
    expect([admin?.role, admin?.pools]).toEqual(['admin', undefined]);
  });

  test('is verified once; the issuer is asked for its keys once', async () => {
    const verify = verifierOf({ keysCooldownMs: 30_000 });
    const before = issuer.requests.get('/keys') ?? 0;
    const token = await issuer.sign();
    for (let times = 0; times < 5; times += 1) await verify(token);
    await verify(await issuer.sign({ sub: 'bob' }));
    expect(issuer.requests.get('/keys')).toBe(before + 1);
  });

  test('may be for one of several audiences, and signed in any way that is allowed', async () => {
    const verify = verifierOf({ audiences: ['other', 'drover'] });
    for (const alg of ['RS256', 'PS256', 'ES384', 'Ed25519']) {
      await issuer.rotate({ alg });
      expect(await verify(await issuer.sign({ aud: ['x', 'drover'] }))).toMatchObject({ principal: { id: 'ada' } });
    }
    await issuer.rotate();
  });
});

describe('a token that is not right is refused', () => {
  const nowS = () => Math.floor(Date.now() / 1_000);
  test.each<[string, object, string, RegExp]>([
    ['of another issuer', { iss: 'https://evil.example' }, 'PRINCIPAL_UNKNOWN', /issuer "https:\/\/evil\.example"/],
    ['for another audience', { aud: 'shop' }, 'PRINCIPAL_UNKNOWN', /"aud"/],
    ['for no audience', { aud: undefined }, 'PRINCIPAL_UNKNOWN', /"aud"/],
    ['that has expired', { exp: nowS() - 31 }, 'TOKEN_EXPIRED', /expired at 20/],
    ['that never expires', { exp: undefined }, 'PRINCIPAL_UNKNOWN', /"exp"/],
    ['that is not yet valid', { nbf: nowS() + 60 }, 'PRINCIPAL_UNKNOWN', /"nbf"/],
  ])('%s', async (_, claims, code, message) => {
    await expect(verifierOf()(await issuer.sign({ ...claims }))).rejects.toMatchObject({
      code,
      advice: 'denied',
      message: expect.stringMatching(message),
    });
  });

  test('clocks may be apart by as much as is said', async () => {
    const verify = verifierOf();
    expect(await verify(await issuer.sign({ exp: nowS() - 20, nbf: nowS() + 20 }))).toBeDefined();
    await expect(verifierOf({ clockSkewMs: 1_000 })(await issuer.sign({ exp: nowS() - 20 }))).rejects.toMatchObject({
      code: 'TOKEN_EXPIRED',
    });
  });

  test('without a signature, or with one that its public key makes', async () => {
    const claims = { iss: issuer.issuer, aud: 'drover', sub: 'eve', roles: ['admins'] };
    const unsigned = new UnsecuredJWT(claims).setExpirationTime('5m').encode();
    // A JWS needs three parts; without its signature it is no token at all.
    expect(await verifierOf()(unsigned)).toBeUndefined();
    await expect(verifierOf()(`${unsigned}AA`)).rejects.toMatchObject({ code: 'PRINCIPAL_UNKNOWN' });
    const { keys } = (await (await fetch(`${issuer.issuer}/keys`)).json()) as { keys: { kid: string; x: string }[] };
    const forged = await new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256', kid: keys[0]!.kid })
      .setExpirationTime('5m')
      .sign(new TextEncoder().encode(JSON.stringify(keys[0])));
    await expect(verifierOf()(forged)).rejects.toMatchObject({ code: 'PRINCIPAL_UNKNOWN' });
  });

  test('that was changed after it was signed', async () => {
    const [head, body, signature] = (await issuer.sign({ roles: ['devs'] })).split('.');
    const claims = JSON.parse(Buffer.from(body!, 'base64url').toString()) as object;
    const raised = Buffer.from(JSON.stringify({ ...claims, roles: ['admins'] })).toString('base64url');
    await expect(verifierOf()(`${head}.${raised}.${signature}`)).rejects.toThrow(/signature/);
    await expect(verifierOf()(`${head}.e30.${signature}`)).rejects.toMatchObject({ code: 'PRINCIPAL_UNKNOWN' });
    await expect(verifierOf()('a.b.c')).rejects.toMatchObject({ code: 'PRINCIPAL_UNKNOWN' });
  });

  test('by a key that the issuer does not have; guessing costs the issuer one request in the cool-down', async () => {
    const stranger = await startTestIssuer();
    const token = () => stranger.sign({ iss: issuer.issuer, jti: Math.random() });
    const verify = verifierOf({ keysCooldownMs: 60_000 });
    await verify(await issuer.sign());
    const before = issuer.requests.get('/keys')!;
    for (let times = 0; times < 5; times += 1) await expect(verify(await token())).rejects.toThrow(/no applicable key/);
    expect(issuer.requests.get('/keys')).toBe(before);
    await stranger[Symbol.asyncDispose]();
  });

  test('again and again: then its address waits, and others do not', async () => {
    const verify = verifierOf({}, new FailedSignIns({ burst: 3, refillMs: 60_000 }));
    const known = await issuer.sign();
    await verify(known);
    const wrong = () => issuer.sign({ aud: 'shop', jti: Math.random() });
    for (let times = 0; times < 3; times += 1) await expect(verify(await wrong())).rejects.toThrow(/aud/);
    await expect(verify(await wrong())).rejects.toMatchObject({ code: 'SIGN_INS_LIMITED', advice: 'exhausted' });
    await expect(verify(await issuer.sign({ jti: 1 }))).rejects.toMatchObject({ code: 'SIGN_INS_LIMITED' });
    expect(await verify(known)).toBeDefined();
    expect(await verify(await issuer.sign({ jti: 2 }), '192.0.2.2')).toBeDefined();
  });
});

describe('the issuer', () => {
  test('rotates its keys: the new ones are found, those that it forgets count no longer', async () => {
    const verify = verifierOf({ keysMaxAgeMs: 0 });
    const old = await issuer.sign({ jti: 'old' });
    expect(await verify(await issuer.sign())).toBeDefined();
    await issuer.rotate();
    expect(await verify(await issuer.sign())).toBeDefined();
    await issuer.rotate({ forget: true });
    expect(await verify(await issuer.sign())).toBeDefined();
    await expect(verify(old)).rejects.toMatchObject({ code: 'PRINCIPAL_UNKNOWN' });
  });

  test('is down: unknown tokens wait for it, known ones do not, and it is not asked for each', async () => {
    await using mine = await startTestIssuer();
    const verify = verifierOf({ issuer: mine.issuer, keysMaxAgeMs: 0 });
    const known = await mine.sign();
    await verify(known);
    mine.fail(true);
    expect(await verify(known)).toBeDefined();
    const unavailable = { code: 'ISSUER_UNAVAILABLE', advice: 'unavailable' };
    await expect(verify(await mine.sign({ jti: 1 }))).rejects.toMatchObject(unavailable);
    const fresh = verifierOf({ issuer: mine.issuer });
    for (let times = 0; times < 5; times += 1)
      await expect(fresh(await mine.sign())).rejects.toMatchObject(unavailable);
    expect(mine.requests.get('/.well-known/openid-configuration')).toBe(2);
    mine.fail(false);
    expect(await verify(await mine.sign({ jti: 2 }))).toBeDefined();
  });

  test('that describes another one, or names no place of its keys, is not believed', async () => {
    await using mine = await startTestIssuer();
    mine.describe({ issuer: 'http://127.0.0.1:1' });
    await expect(verifierOf({ issuer: mine.issuer })(await mine.sign())).rejects.toThrow(/is of the issuer/);
    mine.describe({ jwks_uri: 'file:///etc/passwd' });
    await expect(verifierOf({ issuer: mine.issuer })(await mine.sign())).rejects.toMatchObject({
      code: 'ISSUER_UNAVAILABLE',
    });
  });
});

test.each<[string, Partial<OidcOptions>]>([
  ['in cleartext beyond loopback', { issuer: 'http://issuer.example' }],
  ['for any audience', { audiences: [] }],
  ['with a shared secret', { algorithms: ['HS256'] }],
  ['without a signature', { algorithms: ['none'] }],
])('tokens %s are never asked for', (_, changes) => {
  expect(() => verifierOf(changes)).toThrow(expect.objectContaining({ code: 'OIDC_INVALID' }));
});
