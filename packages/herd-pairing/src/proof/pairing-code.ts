import { DroverError } from '@drover/lease-kit';
import { randomBytes } from 'node:crypto';

/** Crockford's base 32: no I, L, O and U, which are misread. */
const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const misread: Readonly<Record<string, string>> = { I: '1', L: '1', O: '0' };
const codeLength = 8;

/** So many random characters of Crockford's base 32; each has 5 bits. */
export function drawCharacters(length: number): string {
  return Array.from(randomBytes(length), (byte) => alphabet[byte % 32]).join('');
}

/** A new code, `XXXX-XXXX`: 40 bits. */
export function drawPairingCode(): string {
  const drawn = drawCharacters(codeLength);
  return `${drawn.slice(0, 4)}-${drawn.slice(4)}`;
}

/**
 * A code as it goes into the proofs, from what a person typed: in upper case, without dashes and spaces, misread letters put
 * right. Throws `CODE_INVALID` for what is none.
 */
export function pairingCodeFrom(typed: string): string {
  const code = typed
    .toUpperCase()
    .replace(/[-\s]/g, '')
    .replace(/[ILO]/g, (letter) => misread[letter]!);
  if (code.length === codeLength && [...code].every((character) => alphabet.includes(character))) return code;
  throw new DroverError({
    code: 'CODE_INVALID',
    advice: 'fix-input',
    // What was typed is a secret if it is nearly right.
    message: `the code is no pairing code; allowed is ${codeLength} letters and digits, XXXX-XXXX, as "drover herd code" shows it`,
  });
}
