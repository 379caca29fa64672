import { createContextValues } from '@connectrpc/connect';
import { callerFrom, createAccessGate, rpcTable, type CredentialVerifier } from '@drover/access';
import { isDroverError } from '@drover/lease-kit';
import { LeaseService } from '@drover/lease-protocol';
import { describe, expect, test } from 'vitest';
import { bootstrapVerifier, checkAccess, developmentVerifier, strangerVerifier } from './callers.ts';

async function enter(verifier: CredentialVerifier, header: Record<string, string>, service?: string) {
  const gate = createAccessGate({ table: rpcTable, verifiers: [verifier, strangerVerifier()] });
  const values = createContextValues();
  const principal = await gate.enter({
    service: service ?? 'drover.control.v1.JobService',
    method: service === undefined ? 'GetJob' : 'OpenSession',
    header: new Headers(header),
    peer: { remoteAddress: '127.0.0.1', encrypted: false },
    signal: new AbortController().signal,
    values,
  });
  return principal && callerFrom(values);
}

describe('who calls', () => {
  test('is nobody without the token that the server asks for', async () => {
    const verifier = bootstrapVerifier('right');
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

  test('is the agent or user that it names', async () => {
    const verifier = developmentVerifier();
    expect(await enter(verifier, { 'drover-agent-id': 'a1' }, LeaseService.typeName)).toMatchObject({
      principal: { kind: 'agent', id: 'a1' },
    });
    expect(await enter(verifier, { 'drover-user': 'ann' })).toMatchObject({ principal: { kind: 'user', id: 'ann' } });
    await expect(enter(verifier, {}, LeaseService.typeName)).rejects.toThrow(/drover-agent-id must be/);
  });
});

describe('a server that other machines reach', () => {
  test.each(['0.0.0.0', '::', '192.0.2.1', 'build.example'])('on %s needs a token', (host) => {
    expect(() => checkAccess(host, undefined)).toThrow(
      expect.toSatisfy((error) => isDroverError(error, 'ACCESS_OPEN')),
    );
    expect(() => checkAccess(host, 't')).not.toThrow();
  });
  test.each(['127.0.0.1', '127.8.8.8', '::1', 'localhost'])('on %s needs none', (host) => {
    expect(() => checkAccess(host, undefined)).not.toThrow();
  });
});
