import { createContextValues } from '@connectrpc/connect';
import { callerFrom, createAccessGate, FailedSignIns, rpcTable, type CredentialVerifier } from '@drover/access';
import { loadAppConfig } from '@drover/app-config';
import { createMemoryStore } from '@drover/lease-store';
import { randomUUID } from 'node:crypto';
import { LeaseService } from '@drover/lease-protocol';
import { describe, expect, test } from 'vitest';
import { bootstrapVerifier, developmentVerifier, strangerVerifier } from './callers.ts';
import { checkCredentials, checkDevelopment } from './server-access.ts';
import { serverConfig } from './server-config.ts';

async function enter(
  verifier: CredentialVerifier,
  header: Record<string, string>,
  service?: string,
  authority = '127.0.0.1:7613',
) {
  const gate = createAccessGate({ table: rpcTable, verifiers: [verifier, strangerVerifier()] });
  const values = createContextValues();
  const principal = await gate.enter({
    service: service ?? 'drover.control.v1.JobService',
    method: service === undefined ? 'GetJob' : 'OpenSession',
    header: new Headers(header),
    authority,
    peer: { remoteAddress: '127.0.0.1', encrypted: false },
    signal: new AbortController().signal,
    values,
  });
  return principal && callerFrom(values);
}

describe('who calls', () => {
  test('is nobody without the token that the server asks for', async () => {
    const verifier = bootstrapVerifier('right', new FailedSignIns());
    expect(await enter(verifier, {})).toBeUndefined();
    await expect(enter(verifier, { authorization: 'Bearer wrong' })).rejects.toMatchObject({
      code: 'PRINCIPAL_UNKNOWN',
    });
    expect(await enter(verifier, { authorization: 'Bearer right' })).toMatchObject({
      principal: { kind: 'user', id: 'bootstrap' },
      role: 'admin',
      address: '127.0.0.1',
    });
  });

  test('waits with every bearer token, once too many were wrong', async () => {
    const verifier = bootstrapVerifier('right', new FailedSignIns({ burst: 2, refillMs: 60_000 }));
    const right = { authorization: 'Bearer right' };
    for (const guess of ['one', 'two']) {
      expect(await enter(verifier, right)).toMatchObject({ role: 'admin' });
      const wrong = enter(verifier, { authorization: `Bearer ${guess}` });
      await expect(wrong).rejects.toMatchObject({ code: 'PRINCIPAL_UNKNOWN' });
    }
    for (const header of [right, { authorization: 'Bearer three' }]) {
      await expect(enter(verifier, header)).rejects.toMatchObject({ code: 'SIGN_INS_LIMITED', advice: 'exhausted' });
    }
    expect(await enter(verifier, {})).toBeUndefined();
  });

  test('is the agent or user that it names', async () => {
    const verifier = developmentVerifier();
    expect(await enter(verifier, { 'drover-agent-id': 'a1' }, LeaseService.typeName)).toMatchObject({
      principal: { kind: 'agent', id: 'a1' },
    });
    expect(await enter(verifier, { 'drover-user': 'ann' })).toMatchObject({ principal: { kind: 'user', id: 'ann' } });
    await expect(enter(verifier, {}, LeaseService.typeName)).rejects.toThrow(/drover-agent-id must be/);
  });

  test.each(['Bearer guess', 'Basic YTpi', 'DPoP x', ''])(
    'is nobody who shows a credential that is not right, in development too: %j',
    async (authorization) => {
      await expect(enter(developmentVerifier(), { authorization, 'drover-user': 'ann' })).rejects.toMatchObject({
        code: 'PRINCIPAL_UNKNOWN',
      });
    },
  );
});

describe('development mode and browsers of this machine', () => {
  const verifier = developmentVerifier();
  test.each(['127.0.0.1:7613', 'localhost', 'localhost:80', '[::1]:7613'])(
    'a call to %s is let in',
    async (authority) => {
      expect(await enter(verifier, {}, undefined, authority)).toMatchObject({ role: 'admin' });
      expect(await enter(verifier, { origin: `http://${authority}` }, undefined, authority)).toMatchObject({
        role: 'admin',
      });
    },
  );
  // A name of the attacker that leads to 127.0.0.1 makes his page and this server one origin.
  test.each(['rebound.example:7613', '127.0.0.1.example:7613', 'localhost.example', '', 'user@evil.example'])(
    'a call to %j is refused',
    async (authority) => {
      await expect(enter(verifier, {}, undefined, authority)).rejects.toMatchObject({ code: 'ORIGIN_REFUSED' });
    },
  );
  test.each(['https://evil.example', 'null', 'http://127.0.0.1.evil.example'])(
    'a call of a page of %s is refused',
    async (origin) => {
      await expect(enter(verifier, { origin })).rejects.toMatchObject({ code: 'ORIGIN_REFUSED' });
    },
  );
});

const configOf = (flags: Record<string, string>) => loadAppConfig(serverConfig, { env: {}, flags, cwd: '/' }).value;

describe('development mode', () => {
  test.each(['0.0.0.0', '::', '192.0.2.1', 'build.example'])('is refused on %s', (host) => {
    const config = configOf({ 'access.development': 'true', 'listen.host': host });
    expect(() => checkDevelopment(config)).toThrow(expect.objectContaining({ code: 'ACCESS_OPEN' }));
    expect(() => checkDevelopment(configOf({ 'listen.host': host }))).not.toThrow();
  });
  test.each(['127.0.0.1', '127.8.8.8', '::1', 'localhost'])('is taken on %s', (host) => {
    expect(() => checkDevelopment(configOf({ 'access.development': 'true', 'listen.host': host }))).not.toThrow();
  });
});

test('a server that nobody could call does not start', async () => {
  await using store = createMemoryStore();
  const check = (flags: Record<string, string>) =>
    checkCredentials(configOf(flags), store, new AbortController().signal);
  await check({ 'access.development': 'true' });
  await check({ 'access.token': 'a-long-enough-secret' });
  await expect(check({})).rejects.toMatchObject({ code: 'ACCESS_MISSING', advice: 'fix-input' });
  const context = { principal: { kind: 'user', id: 'ada' } } as const;
  const token = { user: 'ada', pools: [], comment: '' };
  const create = (role: 'admin' | 'operator') =>
    store.access.createToken(
      {
        ...token,
        tokenId: randomUUID(),
        hash: new Uint8Array(32).fill(role.length),
        role,
      },
      context,
    );
  await create('operator');
  await expect(check({})).rejects.toMatchObject({ code: 'ACCESS_MISSING' });
  await create('admin');
  await check({});
});
