import { DroverError } from '@drover/lease-kit';
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto';

/** A pair of keys that signs and checks task tokens. */
export interface TaskTokenKeyPair {
  /** The header `kid` of what it signs. */
  readonly keyId: string;
  /** Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array<ArrayBuffer>;
  /** The private half as a JWK in JSON (RFC 8037). */
  readonly privateJwk: string;
}

/** Makes a pair of keys with an id of its own. */
export function newTaskTokenKey(): TaskTokenKeyPair {
  const { privateKey } = generateKeyPairSync('ed25519');
  return {
    keyId: randomBytes(9).toString('base64url'),
    publicKey: publicKeyBytes(privateKey),
    privateJwk: JSON.stringify(privateKey.export({ format: 'jwk' })),
  };
}

/** The private half of {@link TaskTokenKeyPair}, ready to sign. Throws what node:crypto throws for another text. */
export function privateKeyOf(privateJwk: string): KeyObject {
  return createPrivateKey({ format: 'jwk', key: JSON.parse(privateJwk) as Record<string, unknown> });
}

/** The public half of an Ed25519 key, 32 bytes. */
export function publicKeyBytes(key: KeyObject): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url'));
}

/** The key of 32 bytes. Throws `SIGNING_KEY_INVALID` for another length. */
export function publicKeyFromBytes(bytes: Uint8Array): KeyObject {
  if (bytes.length !== 32) {
    throw new DroverError({
      code: 'SIGNING_KEY_INVALID',
      advice: 'fix-input',
      message: `A key that signs task tokens has ${bytes.length} bytes; an Ed25519 public key has 32.`,
    });
  }
  const key = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(bytes).toString('base64url') };
  return createPublicKey({ format: 'jwk', key });
}
