import { DroverError, messageOf, type Clock } from '@drover/lease-kit';
import { createRemoteJWKSet, customFetch, type JWTVerifyGetKey } from 'jose';
import { fetchBounded } from './fetch-bounded.ts';
import type { ResolvedOidcOptions } from './oidc-options.ts';

/** After a failure the issuer is left alone for so long. */
const failureRestMs = 2_000;

/**
 * The keys of an issuer, found by discovery (OpenID Connect Discovery 1.0). Discovery happens when the first token comes; a
 * failure counts for two seconds, so that an issuer which is down is not asked for every call.
 */
export class IssuerKeys {
  readonly #options: ResolvedOidcOptions;
  readonly #clock: Clock;
  #keys: Promise<JWTVerifyGetKey> | undefined;
  #failure: { readonly error: DroverError; readonly untilMs: number } | undefined;

  constructor(options: ResolvedOidcOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  /** The key that a token names. Throws `ISSUER_UNAVAILABLE`, and what jose throws for a key that there is not. */
  readonly keyOf: JWTVerifyGetKey = async (header, token) => {
    const keys = await this.#discovered();
    try {
      return await keys(header, token);
    } catch (error) {
      // A key that is not there is the token's fault; everything else the issuer's.
      const code = (error as { code?: string }).code ?? '';
      if (/^ERR_JW(?:KS_(?:NO_MATCHING|MULTIPLE)|S_|K_)/.test(code)) throw error;
      throw issuerUnavailable(this.#options.issuer, messageOf(error), error);
    }
  };

  #discovered(): Promise<JWTVerifyGetKey> {
    if (this.#failure !== undefined && this.#clock.monotonicMs() < this.#failure.untilMs) {
      return Promise.reject(this.#failure.error);
    }
    this.#keys ??= this.#discover().catch((cause: unknown) => {
      this.#keys = undefined;
      const error = issuerUnavailable(this.#options.issuer, messageOf(cause), cause);
      this.#failure = { error, untilMs: this.#clock.monotonicMs() + failureRestMs };
      throw error;
    });
    return this.#keys;
  }

  async #discover(): Promise<JWTVerifyGetKey> {
    const { issuer, requestTimeoutMs, keysMaxAgeMs, keysCooldownMs } = this.#options;
    const place = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
    const signal = AbortSignal.timeout(requestTimeoutMs);
    const response = await fetchBounded(place, { signal, headers: { accept: 'application/json' } });
    if (response.status !== 200) throw new Error(`${place} answers ${response.status}`);
    const found = (await response.json()) as { readonly issuer?: unknown; readonly jwks_uri?: unknown };
    if (found.issuer !== issuer) throw new Error(`${place} is of the issuer ${JSON.stringify(found.issuer)}`);
    const keys = typeof found.jwks_uri === 'string' ? URL.parse(found.jwks_uri) : null;
    // An issuer on loopback may have its keys there too.
    if (keys === null || !['https:', new URL(issuer).protocol].includes(keys.protocol)) {
      throw new Error(`${place} names no https jwks_uri`);
    }
    return createRemoteJWKSet(keys, {
      timeoutDuration: requestTimeoutMs,
      cacheMaxAge: keysMaxAgeMs,
      cooldownDuration: keysCooldownMs,
      [customFetch]: fetchBounded,
    });
  }
}

function issuerUnavailable(issuer: string, why: string, cause: unknown): DroverError {
  return new DroverError({
    code: 'ISSUER_UNAVAILABLE',
    advice: 'unavailable',
    message: `The issuer ${issuer} cannot be asked for its keys: ${why}`,
    retryAfterMs: failureRestMs,
    cause,
  });
}
