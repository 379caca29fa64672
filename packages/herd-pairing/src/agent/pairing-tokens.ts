import { randomBytes } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DroverError, systemClock, type Clock } from '@drover/lease-kit';
import { drawCharacters } from '../proof/pairing-code.ts';
import { keyOfToken, proofsEqual, tokenProof, type TokenTranscript } from '../proof/pairing-proofs.ts';
import { filesOf, openPrivateFolder, readPrivately, writePrivately } from '../private-files.ts';

/** A token that lets clients in for which nobody reads a code. */
export interface PairingToken {
  readonly tokenId: string;
  /** What it is for, for people. */
  readonly note: string;
  /** By the wall clock, as all times here. */
  readonly createdAtMs: number;
  /** Absent: it does not expire. */
  readonly expiresAtMs?: number | undefined;
  /** How many clients it may let in; absent: any number. */
  readonly usesMax?: number | undefined;
  readonly uses: number;
}

/** A token as lists show it. */
export interface ListedPairingToken extends PairingToken {
  readonly state: 'valid' | 'expired' | 'used' | 'revoked';
}

interface KeptToken extends PairingToken {
  /** What its secret stands for, base64. The secret cannot be had from it, but who has it can pair. */
  readonly key: string;
}

const tokensMax = 256;
const tokenIdPattern = /^[0-9a-z]{10}$/;
const rememberedMs = 30 * 86_400_000;

/**
 * An agent's tokens, a file each in its state folder. The secret of a token is not kept, but the key that proofs are made with
 * is, for both ends must have it: who can read the folder can pair, as he could with the authority's key, which is there too.
 */
export class PairingTokens {
  readonly #path: string;
  readonly #revokedPath: string;
  readonly #clock: Clock;

  constructor(dir: string, deps: { readonly clock?: Clock | undefined } = {}) {
    this.#path = join(dir, 'tokens');
    this.#revokedPath = join(dir, 'revoked-tokens');
    this.#clock = deps.clock ?? systemClock;
    openPrivateFolder(dir);
    openPrivateFolder(this.#path);
    openPrivateFolder(this.#revokedPath);
  }

  /** Makes a token, `id.secret`; the secret has 256 bits and is shown this once. Throws `HERD_TOKENS_TOO_MANY`. */
  create(options: {
    readonly note: string;
    readonly lifetimeMs?: number | undefined;
    readonly usesMax?: number | undefined;
  }): { readonly token: PairingToken; readonly text: string } {
    if (this.list().length >= tokensMax) {
      throw new DroverError({
        code: 'HERD_TOKENS_TOO_MANY',
        advice: 'exhausted',
        message: `this agent has ${tokensMax} tokens, which is the most; they are forgotten 30 days after they have ended`,
      });
    }
    const nowMs = this.#clock.wallMs();
    const tokenId = drawCharacters(10).toLowerCase();
    const secret = randomBytes(32).toString('base64url');
    const { note, lifetimeMs, usesMax } = options;
    const token: PairingToken = {
      tokenId,
      note,
      createdAtMs: nowMs,
      uses: 0,
      ...(lifetimeMs === undefined ? {} : { expiresAtMs: nowMs + lifetimeMs }),
      ...(usesMax === undefined ? {} : { usesMax }),
    };
    this.#write({ ...token, key: keyOfToken(tokenId, secret).toString('base64') });
    return { token, text: `${tokenId}.${secret}` };
  }

  /** Every token, the newest first, without what proofs are made with. Forgets those that ended long ago. */
  list(): ListedPairingToken[] {
    const forgottenMs = this.#clock.wallMs() - rememberedMs;
    const listed: ListedPairingToken[] = [];
    for (const tokenId of filesOf(this.#path)) {
      const kept = this.#read(tokenId);
      if (kept === undefined) continue;
      const { key: _, ...token } = kept;
      const state = this.#stateOf(token);
      if (state !== 'valid' && (token.expiresAtMs ?? token.createdAtMs) < forgottenMs) {
        // The mark last: a token without one would be good again.
        rmSync(this.#fileOf(tokenId), { force: true });
        rmSync(this.#markOf(tokenId), { force: true });
      } else {
        listed.push({ ...token, state });
      }
    }
    return listed.sort((a, b) => b.createdAtMs - a.createdAtMs);
  }

  /** The token lets nobody in after this; those that it let in stay. Throws `TOKEN_UNKNOWN`. */
  revoke(tokenId: string): void {
    if (this.#read(tokenId) === undefined) throw tokenUnknown(tokenId);
    writePrivately(this.#markOf(tokenId), { revokedAtMs: this.#clock.wallMs() });
  }

  /**
   * Checks a client's proof and counts the use. Answers the agent's proof. A wrong proof and an unknown token are told alike:
   * `TOKEN_WRONG`. Then `TOKEN_REVOKED`, `TOKEN_EXPIRED`, `TOKEN_USED`.
   */
  use(tokenId: string, proof: Uint8Array, transcripts: readonly TokenTranscript[]): Uint8Array {
    const kept = this.#read(tokenId);
    if (kept === undefined) throw tokenWrong();
    const key = Buffer.from(kept.key, 'base64');
    const seen = transcripts.find((transcript) => proofsEqual(proof, tokenProof(key, 'client', transcript)));
    if (seen === undefined) throw tokenWrong();
    const state = this.#stateOf(kept);
    if (state !== 'valid') throw tokenEnded(tokenId, state);
    this.#write({ ...kept, uses: kept.uses + 1 });
    return tokenProof(key, 'agent', seen);
  }

  #stateOf({ tokenId, expiresAtMs, usesMax, uses }: PairingToken): ListedPairingToken['state'] {
    if (existsSync(this.#markOf(tokenId))) return 'revoked';
    if (expiresAtMs !== undefined && expiresAtMs <= this.#clock.wallMs()) return 'expired';
    return usesMax !== undefined && uses >= usesMax ? 'used' : 'valid';
  }

  #read(tokenId: string): KeptToken | undefined {
    if (!tokenIdPattern.test(tokenId)) return undefined;
    return readPrivately(this.#fileOf(tokenId), (value) => {
      const { key, note, createdAtMs, uses } = value as Partial<KeptToken>;
      if (typeof key !== 'string' || typeof note !== 'string') return undefined;
      return Number.isFinite(createdAtMs) && Number.isFinite(uses) ? { ...(value as KeptToken), tokenId } : undefined;
    });
  }

  #write(token: KeptToken): void {
    writePrivately(this.#fileOf(token.tokenId), token);
  }

  #fileOf(tokenId: string): string {
    return join(this.#path, `${tokenId}.json`);
  }

  #markOf(tokenId: string): string {
    return join(this.#revokedPath, `${tokenId}.json`);
  }
}

function tokenUnknown(tokenId: string): DroverError {
  return new DroverError({
    code: 'TOKEN_UNKNOWN',
    advice: 'not-found',
    message: `there is no token ${JSON.stringify(tokenId.slice(0, 64))}; "drover herd token list" shows those that there are`,
  });
}

function tokenWrong(): DroverError {
  return new DroverError({
    code: 'TOKEN_WRONG',
    advice: 'denied',
    message:
      'The token is none of this agent\'s, or somebody sits between: "drover herd token create" makes one on its machine.',
  });
}

function tokenEnded(tokenId: string, state: 'expired' | 'used' | 'revoked'): DroverError {
  const how = { expired: 'has expired', used: 'has let in as many as it may', revoked: 'is revoked' }[state];
  return new DroverError({
    code: `TOKEN_${state.toUpperCase()}`,
    advice: 'denied',
    message: `Token ${tokenId} ${how}: "drover herd token create" makes another on the agent's machine.`,
  });
}
