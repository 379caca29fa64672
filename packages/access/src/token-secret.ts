import { createHash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** What every secret of a token begins with, so that people and scanners of leaked secrets know one. */
export const tokenPrefix = 'drv_';

const form = /^drv_([A-Za-z0-9_-]{43})([0-9a-f]{8})$/;

/** A new secret, 256 bits of randomness: `drv_`, the bits, and a checksum by which a mistyped one is known at once. */
export function newTokenSecret(): string {
  const bits = randomBytes(32).toString('base64url');
  return `${tokenPrefix}${bits}${checksum(bits)}`;
}

/** SHA-256 of a secret, under which it is stored; undefined for a text that is no secret. */
export function tokenHash(secret: string): Buffer | undefined {
  const [, bits, sum] = form.exec(secret) ?? [];
  if (bits === undefined || sum !== checksum(bits)) return undefined;
  return createHash('sha256').update(secret).digest();
}

function checksum(bits: string): string {
  return crc32(bits).toString(16).padStart(8, '0');
}
