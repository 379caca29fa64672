import { SignJWT, UnsecuredJWT } from 'jose';
import { expect, test } from 'vitest';
import { checkTaskToken, type TaskTokenChecks } from './check-task-token.ts';
import { signTaskToken } from './sign-task-token.ts';
import type { TaskTokenClaims } from './task-token-claims.ts';
import { newTaskTokenKey, privateKeyOf } from './task-token-key.ts';
import { TaskTokenKeys } from './task-token-keys.ts';
import { TaskTokenReplayGuard } from './task-token-replay-guard.ts';

const nowMs = 1_800_000_000_000;
const claims: TaskTokenClaims = {
  tenantId: 'studio',
  imageDigest: `sha256:${'a'.repeat(64)}`,
  workerId: 'w1',
  workerEpoch: 7,
  tokenId: '0d6b5a66-7cc6-4b5f-9d0c-2f8cf3b1f9a1',
  issuedAtMs: nowMs,
  expiresAtMs: nowMs + 60_000,
};
const pair = newTaskTokenKey();
const signer = { keyId: pair.keyId, key: privateKeyOf(pair.privateJwk) };
const keys = new TaskTokenKeys();
keys.replace([pair]);
const checks: TaskTokenChecks = { keys, workerId: 'w1', workerEpoch: 7, nowMs };

/** The same token with another header or payload and the old signature. */
function tampered(token: string, part: 0 | 1, change: Record<string, unknown>): string {
  const parts = token.split('.');
  const said = JSON.parse(Buffer.from(parts[part]!, 'base64url').toString()) as Record<string, unknown>;
  parts[part] = Buffer.from(JSON.stringify({ ...said, ...change })).toString('base64url');
  return parts.join('.');
}

test('a token says what was signed', async () => {
  expect(await checkTaskToken(await signTaskToken(claims, signer), checks)).toEqual(claims);
});

test('before the scheduler was reached nothing can be checked', async () => {
  const token = await signTaskToken(claims, signer);
  const wanted = { code: 'SIGNING_KEYS_MISSING', advice: 'unavailable' };
  await expect(checkTaskToken(token, { ...checks, keys: new TaskTokenKeys() })).rejects.toMatchObject(wanted);
  await expect(checkTaskToken(token, { ...checks, workerEpoch: undefined })).rejects.toMatchObject(wanted);
});

test('forged, foreign and stale tokens are refused', async () => {
  const token = await signTaskToken(claims, signer);
  const said = { tenant_id: 'studio', image_digest: claims.imageDigest, worker_id: 'w1', worker_epoch: 7 };
  const header = { typ: 'drover-compile+jwt', kid: pair.keyId };
  const other = newTaskTokenKey();
  const invalid: string[] = [
    '',
    'x',
    'a.b.c',
    `${token}x`,
    'x'.repeat(5_000),
    tampered(token, 1, { tenant_id: 'another' }),
    tampered(token, 1, { exp: nowMs / 1_000 + 3_000 }),
    tampered(token, 0, { alg: 'none' }),
    tampered(token, 0, { kid: other.keyId }),
    tampered(token, 0, { jwk: JSON.parse(other.privateJwk) as object }),
    new UnsecuredJWT(said)
      .setJti('j')
      .setIssuedAt(nowMs / 1_000)
      .setExpirationTime(nowMs / 1_000 + 60)
      .encode(),
    // The public half as the secret of an HMAC.
    await new SignJWT(said)
      .setProtectedHeader({ ...header, alg: 'HS256' })
      .setJti('j')
      .setIssuedAt(nowMs / 1_000)
      .setExpirationTime(nowMs / 1_000 + 60)
      .sign(pair.publicKey),
    // Another key under this one's id.
    await signTaskToken(claims, { keyId: pair.keyId, key: privateKeyOf(other.privateJwk) }),
    await signTaskToken(claims, { keyId: other.keyId, key: privateKeyOf(other.privateJwk) }),
    // Of another kind, by the same key.
    await new SignJWT(said)
      .setProtectedHeader({ alg: 'EdDSA', typ: 'JWT', kid: pair.keyId })
      .setJti('j')
      .setIssuedAt(nowMs / 1_000)
      .setExpirationTime(nowMs / 1_000 + 60)
      .sign(signer.key),
    await new SignJWT(said)
      .setProtectedHeader({ ...header, alg: 'EdDSA' })
      .setIssuedAt(nowMs / 1_000)
      .setExpirationTime(nowMs / 1_000 + 60)
      .sign(signer.key),
    await signTaskToken({ ...claims, tenantId: '' }, signer),
    await signTaskToken({ ...claims, workerEpoch: 1.5 }, signer),
    await signTaskToken({ ...claims, issuedAtMs: nowMs + 60_000, expiresAtMs: nowMs + 90_000 }, signer),
    await signTaskToken({ ...claims, expiresAtMs: nowMs + 7_200_000 }, signer),
    await signTaskToken({ ...claims, workerId: 'w2' }, signer),
  ];
  for (const [index, one] of invalid.entries()) {
    await expect(checkTaskToken(one, checks), `token ${index}`).rejects.toMatchObject({
      code: 'TASK_TOKEN_INVALID',
      advice: 'denied',
    });
  }
  const late = { ...checks, nowMs: claims.expiresAtMs + 31_000 };
  await expect(checkTaskToken(token, late)).rejects.toMatchObject({ code: 'TASK_TOKEN_EXPIRED', advice: 'denied' });
  const anew = { ...checks, workerEpoch: 8 };
  await expect(checkTaskToken(token, anew)).rejects.toMatchObject({ code: 'TASK_TOKEN_VOID', advice: 'denied' });
});

test('clocks may be apart a little', async () => {
  const token = await signTaskToken(claims, signer);
  expect(await checkTaskToken(token, { ...checks, nowMs: nowMs - 25_000 })).toEqual(claims);
  expect(await checkTaskToken(token, { ...checks, nowMs: claims.expiresAtMs + 25_000 })).toEqual(claims);
});

test('keys are replaced as a whole, and never by nothing or by what is no key', async () => {
  const next = newTaskTokenKey();
  const some = new TaskTokenKeys();
  some.replace([pair, next]);
  const token = await signTaskToken(claims, { keyId: next.keyId, key: privateKeyOf(next.privateJwk) });
  await checkTaskToken(token, { ...checks, keys: some });
  some.replace([]);
  expect(some.size).toBe(2);
  expect(() => some.replace([{ keyId: 'x', publicKey: new Uint8Array(31) }])).toThrow(/32/);
  some.replace([pair]);
  await expect(checkTaskToken(token, { ...checks, keys: some })).rejects.toMatchObject({ code: 'TASK_TOKEN_INVALID' });
});

test('a token is used once, and remembered for as long as it is valid', () => {
  const guard = new TaskTokenReplayGuard({ tokensMax: 3 });
  guard.use(claims, nowMs);
  const again = (atMs: number) => () => guard.use(claims, atMs);
  expect(again(nowMs)).toThrow(expect.objectContaining({ code: 'TASK_TOKEN_USED' }));
  // Still taken by a worker whose clock is behind.
  expect(again(claims.expiresAtMs + 29_999)).toThrow(expect.objectContaining({ code: 'TASK_TOKEN_USED' }));
  guard.use({ tokenId: 'b', expiresAtMs: nowMs + 300_000 }, nowMs);
  guard.use({ tokenId: 'c', expiresAtMs: nowMs + 60_000 }, nowMs);
  const more = { tokenId: 'd', expiresAtMs: nowMs + 60_000 };
  expect(() => guard.use(more, nowMs)).toThrow(expect.objectContaining({ code: 'TASK_TOKENS_FULL' }));
  guard.use({ ...more, expiresAtMs: nowMs + 400_000 }, nowMs + 110_000);
  expect(guard.size).toBe(2);
});
