import { isDroverError } from '@drover/lease-kit';
import { LeaseService } from '@drover/lease-protocol';
import { describe, expect, test } from 'vitest';
import { checkAccess, principalByToken } from './callers.ts';

function call(header: Record<string, string>, service = 'drover.control.v1.JobService') {
  return {
    service,
    method: 'X',
    header: new Headers(header),
    peer: { remoteAddress: '127.0.0.1', encrypted: false },
    signal: new AbortController().signal,
  };
}

describe('who calls', () => {
  test('is nobody without the token that the server asks for', () => {
    const principalOf = principalByToken('right');
    expect(principalOf(call({}))).toBeUndefined();
    expect(principalOf(call({ authorization: 'Bearer wrong' }))).toBeUndefined();
    expect(principalOf(call({ authorization: 'Bearer right' }))).toEqual({ kind: 'user', id: 'local' });
  });

  test('is the agent or user that it names', () => {
    const principalOf = principalByToken(undefined);
    expect(principalOf(call({ 'drover-agent-id': 'a1' }, LeaseService.typeName))).toEqual({ kind: 'agent', id: 'a1' });
    expect(principalOf(call({ 'drover-user': 'ann' }))).toEqual({ kind: 'user', id: 'ann' });
    expect(() => principalOf(call({}, LeaseService.typeName))).toThrow(/drover-agent-id must be/);
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
