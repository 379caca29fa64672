import type { Interceptor } from '@connectrpc/connect';
import {
  auditInterceptor,
  createAccessGate,
  createTokenVerifier,
  endWithCredential,
  FailedSignIns,
  rpcTable,
  type AccessGate,
  type CredentialVerifier,
  type SignInOptions,
} from '@drover/access';
import { createOidcVerifier } from '@drover/identity-oidc';
import { DroverError, type Logger } from '@drover/lease-kit';
import type { DroverStore } from '@drover/lease-store';
import { isLoopback } from '@drover/app-config';
import { bootstrapVerifier, developmentVerifier, strangerVerifier } from './callers.ts';
import { oidcOptionsFrom, signInFrom } from './oidc-config.ts';
import type { ServerConfig } from './server-config.ts';

/** Who may call a server, and what becomes of their credentials. */
export interface ServerAccess extends Disposable {
  readonly gate: AccessGate;
  /** For the host, outermost first. */
  readonly interceptors: readonly Interceptor[];
  /** Credentials of all kinds that were not right, by address. */
  readonly failures: FailedSignIns;
  /** How people sign in; absent: with tokens. */
  readonly signIn?: SignInOptions;
}

/** What {@link createServerAccess} works with. */
export interface ServerAccessDeps {
  readonly store: Pick<DroverStore, 'access' | 'audit' | 'signals'>;
  readonly logger: Logger;
  /** Credentials of all kinds that were not right, by address. Default: remembered here alone. */
  readonly failures?: FailedSignIns;
  /** Further ways to prove who calls, asked behind tokens and in front of the bootstrap token. Default: none. */
  readonly verifiers?: readonly CredentialVerifier[];
}

/** Makes the gate of a server from its configuration. Disposing stops listening for revocations. */
export function createServerAccess({ access }: ServerConfig, deps: ServerAccessDeps): ServerAccess {
  const { store, logger } = deps;
  const { failures = new FailedSignIns() } = deps;
  const oidc = oidcOptionsFrom(access.oidc);
  const signIn = signInFrom(access.oidc);
  const tokens = createTokenVerifier({ store, failures, logger });
  const gate = createAccessGate({
    table: rpcTable,
    verifiers: [
      tokens,
      ...(deps.verifiers ?? []),
      ...(oidc === undefined ? [] : [createOidcVerifier(oidc, { failures })]),
      ...(access.token === undefined ? [] : [bootstrapVerifier(access.token, failures)]),
      ...(access.development ? [developmentVerifier()] : []),
      strangerVerifier(),
    ],
  });
  return {
    gate,
    failures,
    interceptors: [endWithCredential(), auditInterceptor({ audit: store.audit, logger })],
    ...(signIn === undefined ? {} : { signIn }),
    [Symbol.dispose]: () => tokens[Symbol.dispose](),
  };
}

/** Throws `ACCESS_OPEN` for a server in development mode that others than this machine could reach. */
export function checkDevelopment({ listen, access }: ServerConfig): void {
  if (!access.development || isLoopback(listen.host)) return;
  throw new DroverError({
    code: 'ACCESS_OPEN',
    advice: 'fix-input',
    message:
      `access.development lets everybody in, and listen.host is ${listen.host}, which other machines reach: ` +
      `set access.token instead, or listen on 127.0.0.1`,
  });
}

/** Throws `ACCESS_MISSING` for a server that nobody could call: without development mode, a credential, or an admin's token. */
export async function checkCredentials(
  { access }: ServerConfig,
  store: Pick<DroverStore, 'access'>,
  signal: AbortSignal,
): Promise<void> {
  if (access.development || access.token !== undefined || access.oidc.issuer !== undefined) return;
  const context = { principal: { kind: 'service', id: 'server' }, signal } as const;
  let before: string | undefined;
  for (;;) {
    const page = await store.access.tokens({ limit: 1_000, ...(before === undefined ? {} : { before }) }, context);
    if (page.some(({ role }) => role === 'admin')) return;
    before = page.at(-1)?.tokenId;
    if (page.length < 1_000) break;
  }
  throw new DroverError({
    code: 'ACCESS_MISSING',
    advice: 'fix-input',
    message:
      'nobody could call this server: set access.token (the bootstrap token of its administrator, ' +
      'DROVER_SERVER_ACCESS_TOKEN) or access.oidc.issuer; or, for development on this machine alone, access.development = true ' +
      '(--access-development), which lets everybody in',
  });
}
