import { SignJWT } from 'jose';
import type { KeyObject } from 'node:crypto';
import { taskTokenAlgorithm, taskTokenType, type TaskTokenClaims } from './task-token-claims.ts';

/** Signs what a token says, as a JWT (RFC 7519). Times are cut to whole seconds, the expiry upwards. */
export function signTaskToken(
  claims: TaskTokenClaims,
  { keyId, key }: { readonly keyId: string; readonly key: KeyObject },
): Promise<string> {
  const { tenantId, imageDigest, workerId, workerEpoch, tokenId, issuedAtMs, expiresAtMs } = claims;
  const said = { tenant_id: tenantId, image_digest: imageDigest, worker_id: workerId, worker_epoch: workerEpoch };
  return new SignJWT(said)
    .setProtectedHeader({ alg: taskTokenAlgorithm, typ: taskTokenType, kid: keyId })
    .setJti(tokenId)
    .setIssuedAt(Math.floor(issuedAtMs / 1_000))
    .setExpirationTime(Math.ceil(expiresAtMs / 1_000))
    .sign(key);
}
