import { createHash, randomBytes } from 'node:crypto';
import { DroverError } from '@drover/lease-kit';

/** In front of every token, so that one which was leaked is found. */
const prefix = 'drover_enrol_';
const pattern = /^drover_enrol_([\w-]{12})_([\w-]{43})$/;

/** A registration token as the store knows it. */
export interface ShownEnrolmentToken {
  readonly tokenId: string;
  /** SHA-256 of the secret part, in lower-case hexadecimal: a secret of 256 bits needs no slower hash. */
  readonly secretHash: string;
}

/** Draws a token: what is told once, and what is stored. */
export function newEnrolmentToken(): ShownEnrolmentToken & { readonly text: string } {
  const tokenId = randomBytes(9).toString('base64url');
  const secret = randomBytes(32).toString('base64url');
  return { tokenId, secretHash: hashOf(secret), text: `${prefix}${tokenId}_${secret}` };
}

/** Takes a token apart. Throws `ENROLMENT_TOKEN_INVALID`. */
export function parseEnrolmentToken(text: string): ShownEnrolmentToken {
  const [, tokenId, secret] = pattern.exec(text.trim()) ?? [];
  if (tokenId === undefined || secret === undefined) {
    throw new DroverError({
      code: 'ENROLMENT_TOKEN_INVALID',
      advice: 'denied',
      message: `This is no registration token; one looks like ${prefix}… and comes from "drover enrolment-tokens create".`,
    });
  }
  return { tokenId, secretHash: hashOf(secret) };
}

function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}
