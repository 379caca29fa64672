import { createHash } from 'node:crypto';
import { SignJWT, UnsecuredJWT } from 'jose';
import { beforeAll, describe, expect, test } from 'vitest';
import { agentKeyFromJwk, newAgentKeyJwk, type AgentKey } from './agent-key.ts';
import { createProver } from './create-prover.ts';
import { verifyProof } from './verify-proof.ts';

const nowMs = 1_800_000_000_000;
const url = 'https://build.example:7613/a.B/C';
const expected = { path: '/a.B/C', authorities: ['build.example:7613'], nowMs };

let key: AgentKey;
beforeAll(async () => {
  key = await agentKeyFromJwk(await newAgentKeyJwk());
});
const prove = (call: { url?: string; credential?: string } = {}, atMs = nowMs) =>
  createProver(key, () => atMs)({ url, ...call });

/** A proof as somebody else might make it. */
async function forged(change: { header?: object; claims?: object }, with_ = key): Promise<string> {
  const claims = { htm: 'POST', htu: url, jti: 'abcdefghijklmnop.1', iat: nowMs / 1_000, ...change.claims };
  const header = { alg: 'EdDSA', typ: 'dpop+jwt', jwk: { ...key.publicJwk }, ...change.header };
  return new SignJWT(claims).setProtectedHeader(header).sign(with_.privateKey);
}

test('a proof shows the key, and counts', async () => {
  const prover = createProver(key, () => nowMs);
  const first = await verifyProof(await prover({ url }), expected);
  const second = await verifyProof(await prover({ url: `${url}?x=1` }), expected);
  expect(first).toMatchObject({ thumbprint: key.thumbprint, sequence: 1 });
  expect(second).toEqual({ ...first, sequence: 2 });
  const { kty, crv, x } = key.publicJwk as Record<string, string>;
  const hash = createHash('sha256').update(JSON.stringify({ crv, kty, x }));
  expect(key.thumbprint).toBe(hash.digest('base64url'));
});

test('a proof goes with its credential, and under every name of the server', async () => {
  const proof = await prove({ credential: 'x.y.z' });
  await verifyProof(proof, { ...expected, credential: 'x.y.z', authorities: ['other:1', 'BUILD.example:7613'] });
  await expect(verifyProof(proof, { ...expected, credential: 'other' })).rejects.toMatchObject({
    code: 'PROOF_INVALID',
  });
  await expect(verifyProof(proof, expected)).rejects.toThrow('another credential');
  await expect(verifyProof(await prove(), { ...expected, credential: 'x' })).rejects.toThrow('another credential');
  // A default port need not be written.
  await verifyProof(await prove({ url: 'https://a/a.B/C' }), { ...expected, authorities: ['a:443'] });
});

describe('refused is a proof', () => {
  test.each<[string, () => Promise<string>, RegExp]>([
    ['of nothing', () => Promise.resolve('x'), /not signed/],
    ['that is too long', () => Promise.resolve('x'.repeat(3_000)), /longer/],
    ['that is not signed', () => Promise.resolve(new UnsecuredJWT({ htm: 'POST', htu: url }).encode()), /not signed/],
    ['of another method', () => prove({ url: 'https://build.example:7613/a.B/D' }), /another call/],
    ['for another server', () => prove({ url: 'https://evil.example:7613/a.B/C' }), /evil\.example/],
    ['for another verb', () => forged({ claims: { htm: 'GET' } }), /another call/],
    ['without a count', () => forged({ claims: { jti: 'abc' } }), /jti/],
    ['of another type', () => forged({ header: { typ: 'JWT' } }), /not signed/],
    ['without a key', () => forged({ header: { jwk: undefined } }), /not signed/],
    ['without a time', () => forged({ claims: { iat: undefined } }), /iat/],
    [
      'that another key has signed',
      async () => forged({}, await agentKeyFromJwk(await newAgentKeyJwk())),
      /not signed/,
    ],
  ])('%s', async (_, make, message) => {
    const failure = await verifyProof(await make(), expected).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'PROOF_INVALID', advice: 'denied', message: expect.stringMatching(message) });
  });

  test.each([
    ['too old', -61_000],
    ['of the future', 61_000],
  ])('%s, and told the server’s time', async (_, aheadMs) => {
    await expect(verifyProof(await prove({}, nowMs + aheadMs), expected)).rejects.toMatchObject({
      code: 'PROOF_STALE',
      details: { serverTimeMs: nowMs },
    });
    await verifyProof(await prove({}, nowMs + aheadMs * 0.9), expected);
  });
});

test('a key that is none is refused', async () => {
  for (const jwk of [{}, { kty: 'EC' }, { kty: 'OKP', crv: 'Ed25519', x: 'AA', d: 'AA' }]) {
    await expect(agentKeyFromJwk(jwk)).rejects.toMatchObject({ code: 'AGENT_KEY_INVALID' });
  }
});
