/** What a task token says: one compile of one tenant, with one image, on one registration of one worker. */
export interface TaskTokenClaims {
  readonly tenantId: string;
  /** `sha256:…`. */
  readonly imageDigest: string;
  readonly workerId: string;
  /** Of the worker's registration: a worker that has registered anew takes no tokens of before. */
  readonly workerEpoch: number;
  /** The claim `jti`, a UUID: a token is used once. */
  readonly tokenId: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

/** The header `typ` of task tokens (RFC 8725, 3.11): no other JWT of the fleet is taken for one. */
export const taskTokenType = 'drover-compile+jwt';

/** The only algorithm of task tokens: EdDSA with Ed25519 (RFC 8037). */
export const taskTokenAlgorithm = 'EdDSA';
