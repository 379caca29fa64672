import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { DroverError } from '@drover/lease-kit';
import { checkSecrets } from './secret-bounds.ts';

/** A key that seals secrets: 32 random bytes. */
export type SecretKey = Uint8Array;

/**
 * Seals the secrets of a lease for the store, and opens them for the agent that has it: AES-256-GCM (NIST SP 800-38D) with a
 * random nonce, the lease's id as additional data. What was sealed for one lease opens for no other.
 */
export interface SecretSealer {
  /** Throws SECRET_INVALID for what is beyond `secretBounds`. */
  seal(leaseId: string, secrets: ReadonlyMap<string, Uint8Array>): Uint8Array;
  /** Throws SECRET_SEALED if no key fits, or if it was sealed for another lease or changed since. */
  open(leaseId: string, sealed: Uint8Array): ReadonlyMap<string, Uint8Array>;
}

const version = 1;
const keyIdBytes = 8;
const nonceBytes = 12;
const tagBytes = 16;
const headBytes = 1 + keyIdBytes + nonceBytes;
const keyBytes = 32;

/**
 * Makes a sealer. The first key seals, every key opens: a new one is put in front, and an old one is taken away once all that
 * it has sealed is gone. Throws SECRET_KEY_INVALID for no key and for one that has not 32 bytes.
 */
export function createSecretSealer(keys: readonly SecretKey[]): SecretSealer {
  const [current] = keys;
  if (current === undefined || keys.some((key) => key.length !== keyBytes)) {
    throw new DroverError({
      code: 'SECRET_KEY_INVALID',
      advice: 'fix-input',
      message: `keys of secrets: ${current === undefined ? 'there is none' : 'one has another length'}; allowed: 1 or more, each of ${keyBytes} bytes`,
    });
  }
  const byId = new Map(keys.map((key) => [idOf(key), key]));
  return {
    seal(leaseId, secrets) {
      checkSecrets(secrets);
      const nonce = randomBytes(nonceBytes);
      const head = Buffer.concat([Buffer.of(version), Buffer.from(idOf(current), 'hex'), nonce]);
      const cipher = createCipheriv('aes-256-gcm', current, nonce).setAAD(additionalData(head, leaseId));
      const text = JSON.stringify([...secrets].map(([name, value]) => [name, Buffer.from(value).toString('base64')]));
      return Buffer.concat([head, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
    },
    open(leaseId, sealed) {
      const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
      const key = byId.get(bytes.subarray(1, 1 + keyIdBytes).toString('hex'));
      if (bytes.length < headBytes + tagBytes || bytes[0] !== version || key === undefined) throw notOpened(undefined);
      const head = bytes.subarray(0, headBytes);
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, head.subarray(1 + keyIdBytes), {
          authTagLength: tagBytes,
        });
        decipher.setAAD(additionalData(head, leaseId)).setAuthTag(bytes.subarray(-tagBytes));
        const text = Buffer.concat([decipher.update(bytes.subarray(headBytes, -tagBytes)), decipher.final()]);
        const entries = JSON.parse(text.toString('utf8')) as [string, string][];
        return new Map(entries.map(([name, value]) => [name, new Uint8Array(Buffer.from(value, 'base64'))]));
      } catch (error) {
        throw notOpened(error);
      }
    },
  };
}

/** Makes a key. */
export function generateSecretKey(): SecretKey {
  return new Uint8Array(randomBytes(keyBytes));
}

/**
 * Keys from the text of a key file: base64, one a line; empty lines and those that start with # are skipped. Throws
 * SECRET_KEY_INVALID, which names the line and not what stands on it.
 */
export function secretKeysFrom(text: string): SecretKey[] {
  return text.split(/\r?\n/).flatMap((line, index) => {
    const word = line.trim();
    if (word === '' || word.startsWith('#')) return [];
    const key = Buffer.from(word, 'base64');
    if (key.length === keyBytes && /^[A-Za-z0-9+/]{43}=$/.test(word)) return [new Uint8Array(key)];
    throw new DroverError({
      code: 'SECRET_KEY_INVALID',
      advice: 'fix-input',
      message: `line ${index + 1} is no key; allowed: ${keyBytes} random bytes as base64, e.g. by "openssl rand -base64 32"`,
    });
  });
}

function additionalData(head: Uint8Array, leaseId: string): Buffer {
  return Buffer.concat([Buffer.from('drover lease secrets\0'), head, Buffer.from(leaseId.toLowerCase())]);
}

/** The start of the key's SHA-256: names a key without giving it away. */
function idOf(key: SecretKey): string {
  return createHash('sha256')
    .update(key)
    .digest('hex')
    .slice(0, 2 * keyIdBytes);
}

function notOpened(cause: unknown): DroverError {
  return new DroverError({
    code: 'SECRET_SEALED',
    advice: 'internal',
    message:
      'the secrets of the lease cannot be opened: no key of this server fits; every server needs the same key file',
    cause,
  });
}
