import { createHash, randomBytes } from 'node:crypto';
import { SignJWT } from 'jose';
import { signingAlgorithm, type AgentKey } from './agent-key.ts';

/** A call that is to be proved. */
export interface ProvedCall {
  /** Where it goes: `https://host:port/package.Service/Method`. */
  readonly url: string;
  /** The credential that goes with it; absent: none does. */
  readonly credential?: string | undefined;
}

/** Makes proofs of possession of one key. */
export type Prover = (call: ProvedCall) => Promise<string>;

/**
 * Makes proofs after RFC 9449 for the calls of one process. Their `jti` is a nonce of the process and a count that grows, so
 * that whoever checks them tells replays with memory that does not grow with the calls. `nowMs`: the wall time as the server
 * sees it.
 */
export function createProver(key: AgentKey, nowMs: () => number): Prover {
  const nonce = randomBytes(16).toString('base64url');
  let count = 0;
  return async ({ url, credential }) => {
    count += 1;
    const { origin, pathname } = new URL(url);
    const claims = { htm: 'POST', htu: `${origin}${pathname}`, jti: `${nonce}.${count}` };
    return new SignJWT(credential === undefined ? claims : { ...claims, ath: credentialHash(credential) })
      .setProtectedHeader({ alg: signingAlgorithm, typ: 'dpop+jwt', jwk: { ...key.publicJwk } })
      .setIssuedAt(Math.floor(nowMs() / 1_000))
      .sign(key.privateKey);
  };
}

/** What a proof says of the credential that goes with it. */
export function credentialHash(credential: string): string {
  return createHash('sha256').update(credential, 'utf8').digest('base64url');
}
