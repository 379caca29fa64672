import {
  DroverError,
  messageOf,
  silentLogger,
  systemClock,
  type Clock,
  type Logger,
  type ScheduledCall,
} from '@drover/lease-kit';
import type { AccessStore, StoreSignals, TokenRecord } from '@drover/lease-store';
import { principalUnknown, tokenExpired, tokenRevoked } from './access-errors.ts';
import type { ArrivingCall, CredentialVerifier } from './access-gate.ts';
import { bearerOf } from './bearer.ts';
import type { Caller } from './caller.ts';
import type { FailedSignIns } from './failed-sign-ins.ts';
import { tokenHash, tokenPrefix } from './token-secret.ts';

/** Bounds and times of {@link createTokenVerifier}. */
export interface TokenVerifierOptions {
  /** How long a token is believed without a look into the store, in ms, where no signal says that it was revoked. Default 30,000. */
  readonly cacheMs?: number;
  /** Tokens that are remembered. Default 20,000. */
  readonly entriesMax?: number;
  /** Looks into the store at once; SIGN_INS_FULL beyond. Default 64. */
  readonly lookupsMax?: number;
}

/** Who works together in {@link createTokenVerifier}. */
export interface TokenVerifierDeps {
  readonly store: { readonly access: Pick<AccessStore, 'useToken'>; readonly signals: StoreSignals };
  readonly failures: FailedSignIns;
  /** Default: that of the process. */
  readonly clock?: Clock;
  /** Default: silence. */
  readonly logger?: Logger;
}

/** Knows the bearers of tokens. */
export interface TokenVerifier extends CredentialVerifier, Disposable {}

interface Entry {
  readonly hash: Buffer;
  token: TokenRecord;
  /** By the monotonic clock; −∞: it must be looked at before it is believed again. */
  checkedAtMs: number;
  readonly ended: AbortController;
  /** A call that stays open depends on it. */
  isWatched: boolean;
}

const principalOfStore = { principal: { kind: 'service', id: 'access' } } as const;

/**
 * Knows the bearers of tokens: a token that was seen lately without a look into the store. A revocation, on whichever server,
 * is heard as a signal and ends open calls at once; where signals are lost, it counts after `cacheMs`. Calls show the
 * secret, tokens are found by its hash, so that comparing takes no time that tells anything. Disposing stops listening.
 */
export function createTokenVerifier(deps: TokenVerifierDeps, options: TokenVerifierOptions = {}): TokenVerifier {
  return new CachingTokenVerifier(deps, options);
}

class CachingTokenVerifier implements TokenVerifier {
  readonly #deps: TokenVerifierDeps;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #cacheMs: number;
  readonly #entriesMax: number;
  readonly #lookupsMax: number;
  /** By the hash in hex, the one that was loaded last at the end. */
  readonly #entries = new Map<string, Entry>();
  readonly #lookups = new Map<string, Promise<Entry | undefined>>();
  readonly #unlisten: () => void;
  #timer: ScheduledCall | undefined;
  /** Counts what was heard, so that a look into the store which began before is not believed. */
  #heard = 0;

  constructor(
    deps: TokenVerifierDeps,
    { cacheMs = 30_000, entriesMax = 20_000, lookupsMax = 64 }: TokenVerifierOptions,
  ) {
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
    this.#cacheMs = cacheMs;
    this.#entriesMax = entriesMax;
    this.#lookupsMax = lookupsMax;
    this.#unlisten = deps.store.signals.listen((signal) => {
      if (signal.kind !== 'token' && signal.kind !== 'resync') return;
      this.#heard += 1;
      this.#doubt((token) => signal.kind === 'resync' || token.tokenId === signal.tokenId);
    });
    this.#repeat();
  }

  verify(call: ArrivingCall): Caller | undefined | Promise<Caller> {
    const secret = bearerOf(call.header);
    if (secret === undefined || !secret.startsWith(tokenPrefix)) return undefined;
    const { remoteAddress } = call.peer;
    const hash = tokenHash(secret);
    if (hash === undefined) throw principalUnknown('the token is not whole');
    const key = hash.toString('hex');
    const known = this.#entries.get(key);
    if (known !== undefined && this.#clock.monotonicMs() - known.checkedAtMs < this.#cacheMs) {
      return this.#callerOf(known, remoteAddress);
    }
    if (known === undefined) this.#deps.failures.check(remoteAddress);
    return this.#lookUp(key, hash).then((entry) => {
      if (entry !== undefined) return this.#callerOf(entry, remoteAddress);
      this.#deps.failures.note(remoteAddress);
      throw principalUnknown('this server gave out no such token');
    });
  }

  [Symbol.dispose](): void {
    this.#unlisten();
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #callerOf(entry: Entry, address: string): Caller {
    const { tokenId, user, role, pools, expiresAtMs, revokedAtMs } = entry.token;
    const name = `token ${tokenId.slice(0, 8)}`;
    if (revokedAtMs !== undefined) throw tokenRevoked(`The ${name}`);
    if (expiresAtMs !== undefined && expiresAtMs <= this.#clock.wallMs())
      throw tokenExpired(`The ${name}`, expiresAtMs);
    return {
      principal: { kind: 'user', id: user },
      role,
      ...(pools.length === 0 ? {} : { pools }),
      address,
      credential: name,
      ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
      get ended() {
        entry.isWatched = true;
        return entry.ended.signal;
      },
    };
  }

  /** The token as the store has it now; those who ask for one token at the same time share the answer. */
  #lookUp(key: string, hash: Buffer): Promise<Entry | undefined> {
    const underWay = this.#lookups.get(key);
    if (underWay !== undefined) return underWay;
    if (this.#lookups.size >= this.#lookupsMax) {
      const error = new DroverError({
        code: 'SIGN_INS_FULL',
        advice: 'exhausted',
        message: `${this.#lookupsMax} credentials are being looked up, which is the most allowed.`,
        retryAfterMs: 1_000,
      });
      return Promise.reject(error);
    }
    const lookup = this.#load(key, hash).finally(() => this.#lookups.delete(key));
    this.#lookups.set(key, lookup);
    return lookup;
  }

  async #load(key: string, hash: Buffer): Promise<Entry | undefined> {
    for (;;) {
      const heard = this.#heard;
      const token = await this.#deps.store.access.useToken(hash, principalOfStore);
      // A revocation that was heard meanwhile may be this token's, and later than what was read.
      if (heard !== this.#heard) continue;
      const known = this.#entries.get(key);
      this.#entries.delete(key);
      if (token === undefined) {
        known?.ended.abort(tokenRevoked('The token'));
        return undefined;
      }
      const entry = known ?? { hash, token, checkedAtMs: 0, ended: new AbortController(), isWatched: false };
      entry.token = token;
      entry.checkedAtMs = this.#clock.monotonicMs();
      this.#entries.set(key, entry);
      if (token.revokedAtMs !== undefined) entry.ended.abort(tokenRevoked(`The token ${token.tokenId.slice(0, 8)}`));
      this.#trim();
      return entry;
    }
  }

  #trim(): void {
    if (this.#entries.size <= this.#entriesMax) return;
    for (const [key, entry] of this.#entries) {
      // Nobody would hear of its end any more: its calls come again.
      if (entry.isWatched)
        entry.ended.abort(
          new DroverError({
            code: 'SIGN_IN_AGAIN',
            advice: 'unavailable',
            message: 'The server holds too many tokens; call again.',
          }),
        );
      this.#entries.delete(key);
      return;
    }
  }

  /** Believes tokens no longer, and looks at once at those on which open calls depend. */
  #doubt(concerns: (token: TokenRecord) => boolean): void {
    const watched: [string, Entry][] = [];
    for (const [key, entry] of this.#entries) {
      if (!concerns(entry.token)) continue;
      entry.checkedAtMs = -Infinity;
      if (entry.isWatched && !entry.ended.signal.aborted) watched.push([key, entry]);
    }
    void this.#look(watched);
  }

  async #look(entries: readonly [string, Entry][]): Promise<void> {
    for (const [key, { hash }] of entries) {
      try {
        await this.#lookUp(key, hash);
      } catch (error) {
        this.#logger.warn({ err: messageOf(error) }, 'a token could not be looked at; it is tried again');
        return;
      }
    }
  }

  /** The floor under the signals. */
  #repeat(): void {
    this.#timer = this.#clock.schedule(this.#cacheMs, () => {
      const dueMs = this.#clock.monotonicMs() - this.#cacheMs;
      const due = [...this.#entries].filter(
        ([, entry]) => entry.isWatched && !entry.ended.signal.aborted && entry.checkedAtMs <= dueMs,
      );
      void this.#look(due).then(() => {
        if (this.#timer !== undefined) this.#repeat();
      });
    });
  }
}
