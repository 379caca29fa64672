import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { bundleRefused } from './bundle-errors.ts';

/** A public key whose signatures count. */
export interface TrustedKey {
  /** The first 16 hexadecimal digits of the SHA-256 of its 32 bytes. */
  readonly keyId: string;
  readonly key: KeyObject;
}

const prefix = 'ed25519:';
/** What stands in front of the 32 bytes of a key in a SubjectPublicKeyInfo (RFC 8410). */
const spkiPrefix = Buffer.from('302a300506032b6570032100', 'hex');

/** Makes a key pair: the private key as PEM (PKCS #8), the public key as `ed25519:` and base64 of its 32 bytes. */
export function generateSigningKey(): { readonly privateKeyPem: string; readonly publicKey: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    publicKey: publicKeyText(publicKey),
  };
}

/** Reads `ed25519:BASE64`. Throws `BUNDLE_KEY_INVALID`. */
export function parseTrustedKey(text: string): TrustedKey {
  const raw = Buffer.from(text.slice(prefix.length), 'base64');
  if (!text.startsWith(prefix) || raw.byteLength !== 32 || raw.toString('base64') !== text.slice(prefix.length)) {
    throw bundleRefused(
      'BUNDLE_KEY_INVALID',
      `${JSON.stringify(text.slice(0, 80))} is no public key; allowed is ${prefix} and the base64 of 32 bytes, as drover bundles keygen prints it`,
    );
  }
  const key = createPublicKey({ key: Buffer.concat([spkiPrefix, raw]), format: 'der', type: 'spki' });
  return { keyId: keyIdOf(raw), key };
}

/** Reads a private key in PEM. Throws `BUNDLE_KEY_INVALID`. */
export function parseSigningKey(pem: string): {
  readonly keyId: string;
  readonly key: KeyObject;
  readonly publicKey: string;
} {
  let key: KeyObject | undefined;
  try {
    key = createPrivateKey(pem);
  } catch {
    // Said below, without what OpenSSL says.
  }
  if (key?.asymmetricKeyType !== 'ed25519') {
    throw bundleRefused(
      'BUNDLE_KEY_INVALID',
      'the signing key is none; allowed is an Ed25519 key in PEM (PKCS #8), as drover bundles keygen writes it',
    );
  }
  const publicKey = publicKeyText(createPublicKey(key));
  return { keyId: parseTrustedKey(publicKey).keyId, key, publicKey };
}

function publicKeyText(key: KeyObject): string {
  const der = key.export({ type: 'spki', format: 'der' });
  return `${prefix}${der.subarray(spkiPrefix.byteLength).toString('base64')}`;
}

function keyIdOf(raw: Uint8Array): string {
  return createHash('sha256').update(raw).digest('hex').slice(0, 16);
}
