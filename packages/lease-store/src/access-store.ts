import type { StoreContext } from './store-context.ts';

/** A token to store. Its secret is nowhere but with whoever asked for it. */
export interface TokenDraft {
  /** A UUID, by which it is listed and revoked. */
  readonly tokenId: string;
  /** SHA-256 of the secret: 32 bytes. */
  readonly hash: Uint8Array;
  /** The user as whom its bearer acts, at most 128 characters. Several tokens may have one. */
  readonly user: string;
  readonly role: 'viewer' | 'submitter' | 'operator' | 'admin';
  /** The pools that it is limited to, at most 100; empty: none. */
  readonly pools: readonly string[];
  /** For people: what it is for, at most 256 characters. */
  readonly comment: string;
  /** How long it may be used. Absent: until it is revoked. */
  readonly lifetimeMs?: number;
}

/** A token as the store remembers it. */
export interface TokenRecord extends Omit<TokenDraft, 'hash' | 'lifetimeMs'> {
  /** `kind:id` of who made it. */
  readonly createdBy: string;
  readonly createdAtMs: number;
  readonly expiresAtMs?: number;
  readonly revokedAtMs?: number;
  /** When it was last used, to within an hour. Absent: never. */
  readonly usedAtMs?: number;
}

/** Tokens of people and programs. */
export interface AccessStore {
  /** Stores a token. `TOKENS_FULL` beyond 10,000 that have not ended. Writes the audit of `context.change` with it. */
  createToken(draft: TokenDraft, context: StoreContext): Promise<TokenRecord>;
  /** Newest first; those that have ended too, if asked. `before` is the last token id of the page before. */
  tokens(
    page: { readonly before?: string; readonly limit: number; readonly ended?: boolean },
    context: StoreContext,
  ): Promise<readonly TokenRecord[]>;
  /**
   * Takes a token back for good, and tells every server with the signal `token`. By id or by a prefix (≥ 4 characters) that
   * one token has: `TOKEN_NOT_FOUND`, `TOKEN_ID_AMBIGUOUS`. Again: changes nothing. Writes the audit of `context.change` with it.
   */
  revokeToken(idOrPrefix: string, context: StoreContext): Promise<TokenRecord>;
  /** The token of a secret, ended or not, and remembers that it is in use, once an hour. Undefined: there is none. */
  useToken(hash: Uint8Array, context: StoreContext): Promise<TokenRecord | undefined>;
}
