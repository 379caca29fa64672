import { createPublicKey, type KeyObject } from 'node:crypto';

/** A client's public key from SubjectPublicKeyInfo in DER; undefined for what is no EC P-256 key. */
export function clientKeyFrom(spki: Uint8Array): KeyObject | undefined {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), type: 'spki', format: 'der' });
    return key.asymmetricKeyDetails?.namedCurve === 'prime256v1' ? key : undefined;
  } catch {
    return undefined;
  }
}
