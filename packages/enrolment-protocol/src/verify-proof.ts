import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify, type JWTVerifyResult } from 'jose';
import { signingAlgorithm } from './agent-key.ts';
import { credentialHash } from './create-prover.ts';
import { proofInvalid, proofStale } from './proof-errors.ts';

/** The header that carries a proof. */
export const proofHeader = 'dpop';
/** How far the time of a proof may be from the server's, in either direction. */
export const proofWindowMs = 60_000;

const proofLengthMax = 2_048;
const jtiPattern = /^([\w-]{16,43})\.([1-9]\d{0,14})$/;

/** What a proof must be for. */
export interface ExpectedCall {
  /** `/package.Service/Method`. */
  readonly path: string;
  /** The names, with ports, under which the caller may have called: the proof has to be for one of them. */
  readonly authorities: readonly string[];
  /** The credential that came with it; absent: none did. */
  readonly credential?: string | undefined;
  /** The server's wall time. */
  readonly nowMs: number;
}

/** What a proof that is right says. Whether it is a replay is for the caller to find out. */
export interface VerifiedProof {
  /** Of the key, after RFC 7638. */
  readonly thumbprint: string;
  /** Of the process that made it. */
  readonly nonce: string;
  /** Grows with each proof of the process. */
  readonly sequence: number;
}

/**
 * Checks a proof after RFC 9449, 4.3. Throws `PROOF_INVALID`, and `PROOF_STALE` for one that is more than a minute from the
 * server's time.
 */
export async function verifyProof(proof: string, expected: ExpectedCall): Promise<VerifiedProof> {
  if (proof.length > proofLengthMax) throw proofInvalid(`it is longer than ${proofLengthMax} characters`);
  let verified: JWTVerifyResult;
  try {
    verified = await jwtVerify(proof, EmbeddedJWK, { typ: 'dpop+jwt', algorithms: [signingAlgorithm] });
  } catch (error) {
    throw proofInvalid('it is not signed by the key that it names', error);
  }
  const { payload, protectedHeader } = verified;
  const { htm, htu, jti, iat, ath } = payload;
  if (htm !== 'POST' || typeof htu !== 'string') throw proofInvalid('it is for another call');
  const url = URL.parse(htu);
  if (url?.pathname !== expected.path) throw proofInvalid('it is for another call');
  if (!expected.authorities.some((authority) => isSameAuthority(url, authority))) {
    throw proofInvalid(`it is for ${url.host}, and the call came for ${expected.authorities.join(', ')}`);
  }
  const wanted = expected.credential === undefined ? undefined : credentialHash(expected.credential);
  if (ath !== wanted) throw proofInvalid('it is for another credential');
  const [, nonce, count] = (typeof jti === 'string' && jtiPattern.exec(jti)) || [];
  if (nonce === undefined || count === undefined) throw proofInvalid('its jti is not NONCE.COUNT');
  if (typeof iat !== 'number') throw proofInvalid('it has no iat');
  const aheadMs = iat * 1_000 - expected.nowMs;
  if (Math.abs(aheadMs) > proofWindowMs) throw proofStale(aheadMs, expected.nowMs);
  const thumbprint = await calculateJwkThumbprint(protectedHeader.jwk!);
  return { thumbprint, nonce, sequence: Number(count) };
}

/** Scheme and default ports aside: a proxy may have taken TLS away. */
function isSameAuthority(url: URL, authority: string): boolean {
  const other = URL.parse(`${url.protocol}//${authority}`);
  return other !== null && other.host === url.host;
}
