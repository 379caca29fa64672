import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK } from 'jose';
import type { webcrypto } from 'node:crypto';
import { DroverError } from '@drover/lease-kit';

/** A key as a JWK (RFC 7517), as it stands in JSON. */
export type KeyJwk = Readonly<Record<string, unknown>>;

/** What an agent signs its proofs with. */
export interface AgentKey {
  /** Its public half. */
  readonly publicJwk: KeyJwk;
  /** Of the public half, after RFC 7638: what operators compare. */
  readonly thumbprint: string;
  readonly privateKey: webcrypto.CryptoKey;
}

/** The algorithm of proofs and credentials: Ed25519, which costs least at both ends. */
export const signingAlgorithm = 'EdDSA';

/** Draws a key; the answer is its private half. */
export async function newAgentKeyJwk(): Promise<KeyJwk> {
  const { privateKey } = await generateKeyPair(signingAlgorithm, { crv: 'Ed25519', extractable: true });
  return { ...(await exportJWK(privateKey)) };
}

/** The key whose private half this is. Throws `AGENT_KEY_INVALID` for anything but one of Ed25519. */
export async function agentKeyFromJwk(privateJwk: KeyJwk): Promise<AgentKey> {
  const { kty, crv, x, d } = privateJwk;
  if (kty !== 'OKP' || crv !== 'Ed25519' || typeof x !== 'string' || typeof d !== 'string') throw invalid(undefined);
  const publicJwk = { kty, crv, x };
  try {
    const privateKey = await importJWK({ ...publicJwk, d }, signingAlgorithm);
    if (privateKey instanceof Uint8Array) throw invalid(undefined);
    return { publicJwk, privateKey, thumbprint: await calculateJwkThumbprint(publicJwk) };
  } catch (error) {
    throw invalid(error);
  }
}

function invalid(cause: unknown): DroverError {
  return new DroverError({
    code: 'AGENT_KEY_INVALID',
    advice: 'fix-input',
    message: 'This is no private key of an agent; allowed: a JWK with kty OKP, crv Ed25519, x and d.',
    cause,
  });
}
