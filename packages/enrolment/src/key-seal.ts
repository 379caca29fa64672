import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { DroverError } from '@drover/lease-kit';

const info = 'drover credential key';
const algorithm = 'aes-256-gcm';

/**
 * Seals a text with AES-256-GCM under a key from `secret` (HKDF with a salt of its own). Without a secret it is only marked as
 * open: whoever reads the database reads it.
 */
export function sealText(text: string, secret: string | undefined): string {
  if (secret === undefined) return `open.${Buffer.from(text).toString('base64url')}`;
  const salt = randomBytes(16);
  const iv = randomBytes(12);
  const cipher = createCipheriv(algorithm, keyFrom(secret, salt), iv);
  const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
  return ['gcm', salt, iv, sealed]
    .map((part) => (typeof part === 'string' ? part : part.toString('base64url')))
    .join('.');
}

/** Opens what {@link sealText} has made. Throws `CREDENTIAL_KEY_SEALED` if the secret is another one. */
export function openSealed(sealed: string, secret: string | undefined): string {
  const [how, ...parts] = sealed.split('.');
  const [first = Buffer.alloc(0), iv = Buffer.alloc(0), body = Buffer.alloc(0)] = parts.map((part) =>
    Buffer.from(part, 'base64url'),
  );
  if (how === 'open') return first.toString('utf8');
  try {
    if (how !== 'gcm' || secret === undefined) throw new Error('there is no secret');
    const decipher = createDecipheriv(algorithm, keyFrom(secret, first), iv);
    decipher.setAuthTag(body.subarray(-16));
    return Buffer.concat([decipher.update(body.subarray(0, -16)), decipher.final()]).toString('utf8');
  } catch (error) {
    throw new DroverError({
      code: 'CREDENTIAL_KEY_SEALED',
      advice: 'fix-input',
      message:
        'A key that signs credentials is sealed with another secret: every server of the fleet needs the same one.',
      cause: error,
    });
  }
}

function keyFrom(secret: string, salt: Buffer): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, salt, info, 32));
}
