import type { StoreContext } from './store-context.ts';

/** A registration token to remember. */
export interface EnrolmentTokenDraft {
  /** What it is called: 1 to 64 letters, digits, `-` and `_`. */
  readonly tokenId: string;
  /** SHA-256 of its secret, in lower-case hexadecimal. */
  readonly secretHash: string;
  /** For people. */
  readonly note: string;
  readonly validMs: number;
  /** Agents that may enrol with it; absent: any number. */
  readonly usesMax?: number;
  /** Pools that its agents are bound to; none: they are not bound. */
  readonly pools: readonly string[];
  /** It may enrol an id anew whose agent has another key. */
  readonly mayReplace: boolean;
}

/** A registration token as the store remembers it, without its secret. */
export interface EnrolmentTokenRecord {
  readonly tokenId: string;
  readonly note: string;
  readonly createdAtMs: number;
  readonly createdBy: string;
  readonly expiresAtMs: number;
  /** Absent while it is not revoked. */
  readonly revokedAtMs?: number;
  /** Absent: any number. */
  readonly usesMax?: number;
  readonly uses: number;
  readonly pools: readonly string[];
  readonly mayReplace: boolean;
}

/** A machine that wants to be an agent; it has proved that it has the key. */
export interface EnrolmentApplication {
  readonly agentId: string;
  /** Of its key, after RFC 7638. */
  readonly keyThumbprint: string;
  /** For people. */
  readonly name: string;
  /** IP address that it asks from; empty if that is not known. */
  readonly address: string;
  /** Pools that it asks for. */
  readonly pools: readonly string[];
  /** Absent: it asks for approval. */
  readonly token?: { readonly tokenId: string; readonly secretHash: string };
}

/** A machine that waits for approval. */
export interface PendingEnrolmentRecord extends Omit<EnrolmentApplication, 'token'> {
  readonly requestedAtMs: number;
  /** The id is that of an agent with another key, which approval locks out. */
  readonly replaces: boolean;
}

/** How an agent is enrolled. */
export interface EnrolmentRecord {
  readonly agentId: string;
  readonly state: 'enrolled' | 'revoked';
  /** Grows with every change of who may act as the agent: credentials of an earlier one are void. */
  readonly generation: number;
  readonly keyThumbprint: string;
  readonly enrolledAtMs: number;
  /** The token that it enrolled with; absent if it was approved. */
  readonly tokenId?: string;
  /** Who decided last; absent if a token did. */
  readonly decidedBy?: string;
  /** Pools that it is bound to; none: it is not bound. */
  readonly pools: readonly string[];
  /** When the credential that was issued last expires; absent before the first. */
  readonly credentialExpiresAtMs?: number;
  /** Absent while it is not revoked. */
  readonly revokedAtMs?: number;
}

/** What became of an application. */
export type ApplicationOutcome =
  | { readonly kind: 'enrolled'; readonly enrolment: EnrolmentRecord; readonly isNew: boolean }
  | { readonly kind: 'pending' };

/** A key that servers sign agents' credentials with. */
export interface CredentialKeyRecord {
  readonly keyId: string;
  /** Public half as a JWK, in JSON. */
  readonly publicKey: string;
  /** Private half, as its maker sealed it. */
  readonly sealedPrivateKey: string;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
}

/** Which machines are agents: registration tokens, applications, enrolments, and the keys of their credentials. */
export interface EnrolmentStore {
  /** Throws `ENROLMENT_TOKENS_FULL` beyond 10,000 tokens that have not expired. */
  createToken(draft: EnrolmentTokenDraft, context: StoreContext): Promise<EnrolmentTokenRecord>;
  /** Tokens by id; those that expired more than 30 days ago are gone. */
  tokens(
    page: { readonly after?: string; readonly limit: number },
    context: StoreContext,
  ): Promise<readonly EnrolmentTokenRecord[]>;
  /** Throws `ENROLMENT_TOKEN_NOT_FOUND`. Repeating it changes nothing. */
  revokeToken(tokenId: string, context: StoreContext): Promise<EnrolmentTokenRecord>;
  /**
   * Enrols a machine or lets it wait, in one transaction. With the key that it is enrolled with already nothing changes, and
   * no token is used. Throws, with advice `denied` where nothing else is said: `ENROLMENT_TOKEN_INVALID` (unknown, or a wrong
   * secret), `ENROLMENT_TOKEN_EXPIRED`, `ENROLMENT_TOKEN_REVOKED`, `ENROLMENT_TOKEN_USED`, `AGENT_ID_TAKEN` (the id has
   * another key and the token may not replace it), `AGENT_KEY_TAKEN` (the key is another agent's), `POOL_NOT_ALLOWED`,
   * `AGENT_REVOKED`, `ENROLMENT_REJECTED`, and `ENROLMENTS_FULL` (`exhausted`) beyond 1,000 machines that wait.
   */
  apply(application: EnrolmentApplication, context: StoreContext): Promise<ApplicationOutcome>;
  /** Machines that wait, by agent id and key; those that have not asked for a day are gone. */
  pending(
    page: { readonly after?: { readonly agentId: string; readonly keyThumbprint: string }; readonly limit: number },
    context: StoreContext,
  ): Promise<readonly PendingEnrolmentRecord[]>;
  /**
   * Enrols a machine that waits; one with a revoked key gets it back. The agent's earlier key is locked out. Without `pools`
   * an agent stays bound to those that it is bound to. Throws
   * `ENROLMENT_NOT_PENDING` (`not-found`), and `ENROLMENT_AMBIGUOUS` if several ask for the id and none is named.
   */
  approve(
    which: { readonly agentId: string; readonly keyThumbprint?: string; readonly pools: readonly string[] },
    context: StoreContext,
  ): Promise<EnrolmentRecord>;
  /** Sends a machine that waits away, for an hour. Throws like `approve`. */
  reject(which: { readonly agentId: string; readonly keyThumbprint?: string }, context: StoreContext): Promise<void>;
  /** Voids an agent's credentials and keeps its key out. Throws `ENROLMENT_NOT_FOUND`. Repeating it changes nothing. */
  revoke(agentId: string, context: StoreContext): Promise<EnrolmentRecord>;
  /** Of these agents those that are or were enrolled; at most 1,000. */
  enrolments(agentIds: readonly string[], context: StoreContext): Promise<readonly EnrolmentRecord[]>;
  /** The enrolment of a key; undefined if there is none. */
  enrolmentOfKey(keyThumbprint: string, context: StoreContext): Promise<EnrolmentRecord | undefined>;
  /** Remembers until when the newest credential of a generation is valid. */
  recordCredential(agentId: string, generation: number, validMs: number, context: StoreContext): Promise<void>;
  /** Keys that have not expired, the newest first; at most 100. */
  credentialKeys(context: StoreContext): Promise<readonly CredentialKeyRecord[]>;
  /** Adds a key unless there is one younger than `unlessYoungerMs`; several servers may try at once. Answers all keys. */
  addCredentialKey(
    key: Pick<CredentialKeyRecord, 'keyId' | 'publicKey' | 'sealedPrivateKey'> & { readonly validMs: number },
    unlessYoungerMs: number,
    context: StoreContext,
  ): Promise<readonly CredentialKeyRecord[]>;
}

/** Bounds of every enrolment store. */
export const enrolmentLimits = {
  tokensMax: 10_000,
  tokenValidMsMin: 1_000,
  tokenValidMsMax: 366 * 86_400_000,
  usesMaxMax: 1_000_000,
  pendingMax: 1_000,
  /** Machines that ask for one id at once. */
  pendingPerIdMax: 8,
  pendingMs: 86_400_000,
  rejectedMs: 3_600_000,
  /** Agents that are or were enrolled. */
  enrolmentsMax: 200_000,
  poolsMax: 64,
  credentialKeysMax: 100,
  /** How long an expired token can still be seen. */
  tokenKeptMs: 30 * 86_400_000,
} as const;
