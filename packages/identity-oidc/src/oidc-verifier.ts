import {
  bearerOf,
  principalUnknown,
  roleAllows,
  tokenExpired,
  type ArrivingCall,
  type Caller,
  type CredentialVerifier,
  type FailedSignIns,
  type Role,
} from '@drover/access';
import { isDroverError, messageOf, systemClock, type Clock } from '@drover/lease-kit';
import { decodeJwt, errors, jwtVerify, type JWTPayload } from 'jose';
import { createHash } from 'node:crypto';
import { IssuerKeys } from './issuer-keys.ts';
import { resolveOidcOptions, type OidcOptions, type ResolvedOidcOptions } from './oidc-options.ts';

/** Who works together in {@link createOidcVerifier}. */
export interface OidcVerifierDeps {
  readonly failures: FailedSignIns;
  /** Default: that of the process. */
  readonly clock?: Clock;
}

const form = /^[\w-]+\.[\w-]+\.[\w-]+$/;

type Known = Omit<Caller, 'address'> & { readonly expiresAtMs: number };

/**
 * Knows the bearers of tokens that an OpenID Connect issuer signed: JWTs with its issuer, an audience that is meant, an expiry
 * and a signature by one of its keys. A token is verified once and then remembered until it expires; the issuer is asked for
 * its keys only. Throws `OIDC_INVALID`.
 */
export function createOidcVerifier(options: OidcOptions, deps: OidcVerifierDeps): CredentialVerifier {
  return new OidcVerifier(resolveOidcOptions(options), deps);
}

class OidcVerifier implements CredentialVerifier {
  readonly #options: ResolvedOidcOptions;
  readonly #failures: FailedSignIns;
  readonly #clock: Clock;
  readonly #keys: IssuerKeys;
  /** By the digest of the token, the oldest first. */
  readonly #known = new Map<string, Known>();

  constructor(options: ResolvedOidcOptions, { failures, clock = systemClock }: OidcVerifierDeps) {
    this.#options = options;
    this.#failures = failures;
    this.#clock = clock;
    this.#keys = new IssuerKeys(options, clock);
  }

  verify(call: ArrivingCall): Caller | undefined | Promise<Caller> {
    const token = bearerOf(call.header);
    if (token === undefined || !form.test(token)) return undefined;
    const address = call.peer.remoteAddress;
    const digest = createHash('sha256').update(token).digest('base64');
    const known = this.#known.get(digest);
    if (known !== undefined) {
      if (known.expiresAtMs > this.#clock.wallMs()) return { ...known, address };
      this.#known.delete(digest);
    }
    this.#failures.check(address);
    return this.#verified(token).then(
      (found) => {
        this.#remember(digest, found);
        return { ...found, address };
      },
      (error: unknown) => {
        if (!isDroverError(error, 'ISSUER_UNAVAILABLE')) this.#failures.note(address);
        throw error;
      },
    );
  }

  async #verified(token: string): Promise<Known> {
    const { issuer, audiences, algorithms, clockSkewMs } = this.#options;
    let payload: JWTPayload;
    try {
      // Said first: a token of another issuer is refused without asking this one for the key that it names.
      const claimed = decodeJwt(token).iss;
      if (claimed !== issuer)
        throw principalUnknown(`the token is of the issuer ${JSON.stringify(claimed)?.slice(0, 100)}`);
      ({ payload } = await jwtVerify(token, this.#keys.keyOf, {
        issuer,
        audience: [...audiences],
        algorithms: [...algorithms],
        clockTolerance: clockSkewMs / 1_000,
        currentDate: new Date(this.#clock.wallMs()),
        requiredClaims: ['exp'],
      }));
    } catch (error) {
      throw refusal(error);
    }
    return this.#callerOf(payload);
  }

  #callerOf(payload: JWTPayload): Known {
    const { userClaim, rolesClaim, poolsClaim, roles, pools, defaultRole, clockSkewMs } = this.#options;
    const user = claimOf(payload, userClaim);
    if (typeof user !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(user)) {
      throw principalUnknown(`the token's claim ${userClaim} names no user`);
    }
    const found = wordsOf(claimOf(payload, rolesClaim)).flatMap((word) =>
      Object.hasOwn(roles, word) ? [roles[word]!] : [],
    );
    if (defaultRole !== undefined) found.push(defaultRole);
    const role = found.reduce<Role | undefined>(
      (best, one) => (best === undefined || roleAllows(one, best) ? one : best),
      undefined,
    );
    const limits = wordsOf(claimOf(payload, poolsClaim)).flatMap((word) =>
      Object.hasOwn(pools, word) ? pools[word]! : [],
    );
    // An administrator could give himself every pool.
    const isLimited = Object.keys(pools).length > 0 && role !== 'admin' && !limits.includes('*');
    return {
      principal: { kind: 'user', id: user },
      // Who is in no pool's group may do nothing, rather than everything.
      ...(role === undefined || (isLimited && limits.length === 0) ? {} : { role }),
      ...(isLimited && limits.length > 0 ? { pools: [...new Set(limits)] } : {}),
      credential: 'OpenID Connect',
      expiresAtMs: payload.exp! * 1_000 + clockSkewMs,
    };
  }

  #remember(digest: string, found: Known): void {
    this.#known.set(digest, found);
    if (this.#known.size <= this.#options.cacheEntriesMax) return;
    for (const oldest of this.#known.keys()) {
      this.#known.delete(oldest);
      return;
    }
  }
}

/** A claim by its name, or by a path of names with dots between them. */
function claimOf(payload: JWTPayload, name: string): unknown {
  if (Object.hasOwn(payload, name)) return payload[name];
  return name
    .split('.')
    .reduce<unknown>(
      (value, part) =>
        typeof value === 'object' && value !== null && Object.hasOwn(value, part)
          ? (value as Record<string, unknown>)[part]
          : undefined,
      payload,
    );
}

function wordsOf(claim: unknown): readonly string[] {
  if (typeof claim === 'string') return claim.split(' ');
  return Array.isArray(claim) ? claim.filter((word) => typeof word === 'string') : [];
}

function refusal(error: unknown): unknown {
  if (isDroverError(error)) return error;
  if (error instanceof errors.JWTExpired) return tokenExpired('The token', (error.payload.exp ?? 0) * 1_000);
  if (error instanceof errors.JOSEError || error instanceof TypeError) {
    return principalUnknown(`the token is not right (${messageOf(error)})`);
  }
  return error;
}
