import { duration } from '@drover/app-config';
import { isRole, type Role, type SignInOptions } from '@drover/access';
import type { OidcOptions } from '@drover/identity-oidc';
import { DroverError } from '@drover/lease-kit';
import { z } from 'zod';

/** `value=meaning`: the last = divides them, since values of an issuer may hold one. */
const mapping = (meaning: string) =>
  z
    .array(z.string().regex(/^.+=[^=]+$/, `is no mapping; allowed is value=${meaning}, with a value of the claim`))
    .max(1_000)
    .default([]);

/** Sign-in with an OpenID Connect issuer. */
export const oidcConfig = z
  .strictObject({
    issuer: z
      .string()
      .optional()
      .describe('URL of the OpenID Connect issuer that people sign in with, exactly as it names itself. Absent: none.'),
    audience: z.array(z.string().min(1)).max(16).default([]).describe('Tokens must be meant for one of these.'),
    client_id: z.string().default('').describe('As which client "drover login" signs in.'),
    scopes: z
      .array(z.string().min(1))
      .max(32)
      .default(['openid', 'offline_access'])
      .describe('What "drover login" asks the issuer for.'),
    user_claim: z.string().min(1).default('sub').describe('The claim that names the user.'),
    roles_claim: z
      .string()
      .min(1)
      .default('roles')
      .describe('The claim with the groups of the user; dots reach into objects, e.g. realm_access.roles.'),
    roles: mapping('role').describe('What a value of the roles claim means here, e.g. drover-admins=admin.'),
    default_role: z
      .enum(['none', 'viewer', 'submitter'])
      .default('none')
      .describe('The role of everybody whom the issuer knows.'),
    pools_claim: z
      .string()
      .min(1)
      .optional()
      .describe('The claim that access.oidc.pools maps. Absent: the roles claim.'),
    pools: mapping('pool').describe(
      'Limits users to pools by a value of the claim, e.g. render-team=gpu; =* is every pool. Who then has none may do nothing. Empty: nobody is limited.',
    ),
    clock_skew: duration().default(30_000).describe('How far the clocks of issuer and server may be apart.'),
  })
  .prefault({});

type OidcConfig = z.infer<typeof oidcConfig>;

/** What the verifier is told; undefined without an issuer. Throws `OIDC_INVALID`. */
export function oidcOptionsFrom(config: OidcConfig): OidcOptions | undefined {
  const { issuer, audience, user_claim, roles_claim, default_role, pools_claim, clock_skew } = config;
  if (issuer === undefined) return undefined;
  const roles: Record<string, Role> = {};
  for (const [value, role] of config.roles.map(divided)) {
    if (!isRole(role)) {
      throw new DroverError({
        code: 'OIDC_INVALID',
        advice: 'fix-input',
        message: `access.oidc.roles: ${role} is no role; allowed are viewer, submitter, operator, admin`,
      });
    }
    roles[value] = role;
  }
  const pools: Record<string, string[]> = {};
  for (const [value, pool] of config.pools.map(divided)) (pools[value] ??= []).push(pool);
  return {
    issuer,
    audiences: audience,
    userClaim: user_claim,
    rolesClaim: roles_claim,
    roles,
    ...(default_role === 'none' ? {} : { defaultRole: default_role }),
    ...(pools_claim === undefined ? {} : { poolsClaim: pools_claim }),
    pools,
    clockSkewMs: clock_skew,
  };
}

/** What the command line is told; undefined where it cannot sign in. */
export function signInFrom({ issuer, client_id, audience, scopes }: OidcConfig): SignInOptions | undefined {
  if (issuer === undefined || client_id === '') return undefined;
  return { issuer, clientId: client_id, scopes, ...(audience[0] === undefined ? {} : { audience: audience[0] }) };
}

function divided(text: string): readonly [string, string] {
  const at = text.lastIndexOf('=');
  return [text.slice(0, at), text.slice(at + 1)];
}
