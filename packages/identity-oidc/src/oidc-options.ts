import type { Role } from '@drover/access';
import { DroverError } from '@drover/lease-kit';

/** Signatures by keys of which only the issuer has the secret half; all that are taken. */
const asymmetric: readonly string[] = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
];

/** Which tokens of an issuer are accepted, and what they say of their bearers. */
export interface OidcOptions {
  /** As its discovery document and its tokens name it, exactly; `https:`, or `http:` on loopback. */
  readonly issuer: string;
  /** A token must be meant for one of these. */
  readonly audiences: readonly string[];
  /** The claim that names the user. Default `sub`, which no user of an issuer can change. */
  readonly userClaim?: string;
  /** The claim with the groups or roles of the issuer: a list, or words in a text; dots reach into objects. Default `roles`. */
  readonly rolesClaim?: string;
  /** What a value of the roles claim means here; the highest role counts. */
  readonly roles: Readonly<Record<string, Role>>;
  /** Of everybody whom the issuer knows. Default: none. */
  readonly defaultRole?: Role;
  /** The claim with the values that {@link pools} maps. Default: the roles claim. */
  readonly poolsClaim?: string;
  /**
   * Values that limit their bearer to pools, `*` for every pool; who has several has all their pools, and who has none has no
   * role. Admins are not limited. Empty: nobody is.
   */
  readonly pools?: Readonly<Record<string, readonly string[]>>;
  /** Default: RS, PS and ES with SHA-2, and Ed25519. Others than these are never taken. */
  readonly algorithms?: readonly string[];
  /** How far clocks may be apart, in ms. Default 30,000. */
  readonly clockSkewMs?: number;
  /** How long one answer of the issuer may take, in ms. Default 5,000. */
  readonly requestTimeoutMs?: number;
  /** How long keys are used before they are fetched again, in ms. Default 10 minutes. */
  readonly keysMaxAgeMs?: number;
  /** For a key that is not known, keys are fetched at most once in this time, in ms. Default 30,000. */
  readonly keysCooldownMs?: number;
  /** Tokens that are remembered, so that a further call with one costs no verification. Default 10,000. */
  readonly cacheEntriesMax?: number;
}

/** The options with their defaults filled in. */
export type ResolvedOidcOptions = Required<Omit<OidcOptions, 'defaultRole' | 'poolsClaim'>> &
  Pick<OidcOptions, 'defaultRole'> & { readonly poolsClaim: string };

/** Fills in the defaults. Throws `OIDC_INVALID`. */
export function resolveOidcOptions(options: OidcOptions): ResolvedOidcOptions {
  const { issuer, audiences, algorithms = asymmetric, rolesClaim = 'roles' } = options;
  const url = URL.parse(issuer);
  const isLoopback = ['localhost', '127.0.0.1', '[::1]'].includes(url?.hostname ?? '');
  if (url === null || !(url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback)) || url.search !== '') {
    throw invalid(`the issuer is ${JSON.stringify(issuer)}; allowed is an https URL, or http on loopback`);
  }
  if (audiences.length === 0) throw invalid('there is no audience, so that tokens for any program would be taken');
  const wrong = algorithms.find((algorithm) => !asymmetric.includes(algorithm));
  if (wrong !== undefined) throw invalid(`the algorithm ${wrong} is not taken; allowed are ${asymmetric.join(', ')}`);
  return {
    userClaim: 'sub',
    pools: {},
    clockSkewMs: 30_000,
    requestTimeoutMs: 5_000,
    keysMaxAgeMs: 600_000,
    keysCooldownMs: 30_000,
    cacheEntriesMax: 10_000,
    ...options,
    rolesClaim,
    poolsClaim: options.poolsClaim ?? rolesClaim,
    algorithms,
  };
}

function invalid(problem: string): DroverError {
  return new DroverError({ code: 'OIDC_INVALID', advice: 'fix-input', message: `OpenID Connect: ${problem}.` });
}
