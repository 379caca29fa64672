import { createHash, createHmac, hkdfSync, scrypt, timingSafeEqual } from 'node:crypto';

/** What both ends of a pairing by code have seen. The certificate is the agent's, as each end sees it. */
export interface CodeTranscript {
  readonly clientNonce: Uint8Array;
  readonly agentNonce: Uint8Array;
  /** SubjectPublicKeyInfo in DER. */
  readonly clientKey: Uint8Array;
  readonly certificateSha256: Uint8Array;
  readonly pairingId: string;
}

/** The same for a pairing by token. */
export type TokenTranscript = Pick<CodeTranscript, 'clientNonce' | 'clientKey' | 'certificateSha256'>;

/** Bytes of nonces, salts and proofs. */
export const proofBytes = 32;
const scryptCost = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 2 ** 20 };

/** The key that a code stands for. It takes some 50 ms and 32 MiB, in a thread of its own. */
export function keyOfCode(code: string, clientNonce: Uint8Array, salt: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(code, Buffer.concat([clientNonce, salt]), proofBytes, scryptCost, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}

/** The key that the secret of a token stands for: what an agent keeps of it. */
export function keyOfToken(tokenId: string, secret: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, tokenId, 'drover-herd-token-1', proofBytes));
}

/** What one end shows the other in a pairing by code. */
export function codeProof(key: Uint8Array, who: 'client' | 'agent', transcript: CodeTranscript): Buffer {
  const { clientNonce, agentNonce, clientKey, certificateSha256, pairingId } = transcript;
  return proof(key, who, [clientNonce, agentNonce, sha256(clientKey), certificateSha256, Buffer.from(pairingId)]);
}

/** What one end shows the other in a pairing by token. */
export function tokenProof(key: Uint8Array, who: 'client' | 'agent', transcript: TokenTranscript): Buffer {
  const { clientNonce, clientKey, certificateSha256 } = transcript;
  return proof(key, `${who}-token`, [clientNonce, sha256(clientKey), certificateSha256]);
}

/** Compares in a time that tells nothing about where they differ. */
export function proofsEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}

/** SHA-256 of bytes. */
export function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/** All parts but the last one have 32 bytes, so that no two transcripts make one text. */
function proof(key: Uint8Array, label: string, parts: readonly Uint8Array[]): Buffer {
  const mac = createHmac('sha256', key).update(`${label}\0`);
  for (const part of parts) mac.update(part);
  return mac.digest();
}
