import type { FailedSignIns } from '@drover/access';
import { CompileScheduler, SchedulerVerifier } from '@drover/compile-service/scheduler';
import { createOidcVerifier } from '@drover/identity-oidc';
import type { Logger, Meter } from '@drover/lease-kit';
import type { DroverStore } from '@drover/lease-store';
import type { ServerConfig } from './server-config.ts';

/** The compile farm of a server. */
export interface ServerCompile {
  readonly scheduler: CompileScheduler;
  /** For the gate: what workers and tenants' people show. */
  readonly verifier: SchedulerVerifier;
}

/** What {@link createServerCompile} works with. */
export interface ServerCompileDeps {
  readonly store: Pick<DroverStore, 'compiles'>;
  readonly failures: FailedSignIns;
  readonly logger: Logger;
  readonly meter?: Meter | undefined;
}

/** Makes what a configuration says about the compile farm. */
export function createServerCompile(
  { access, compile, enrolment }: ServerConfig,
  { store, failures, logger, meter }: ServerCompileDeps,
): ServerCompile {
  const { worker_token, token_lifetime, session_lifetime, key_lifetime } = compile;
  const { seal_secret } = enrolment;
  const scheduler = new CompileScheduler(
    {
      taskTokenMs: token_lifetime,
      sessionMs: session_lifetime,
      keyRotateMs: key_lifetime,
      ...(worker_token === undefined ? {} : { workerToken: worker_token }),
      ...(seal_secret === undefined ? {} : { sealSecret: seal_secret }),
    },
    { store: store.compiles, logger, ...(meter === undefined ? {} : { meter }) },
  );
  const verifier = new SchedulerVerifier({
    scheduler,
    failures,
    fleetIssuer: access.oidc.issuer,
    verifierOf: ({ issuer, audience, claim, claimValue }, uncounted) =>
      createOidcVerifier(
        {
          issuer,
          audiences: [audience],
          ...(claim === ''
            ? { roles: {}, defaultRole: 'submitter' }
            : { rolesClaim: claim, roles: { [claimValue]: 'submitter' } }),
        },
        { failures: uncounted },
      ),
  });
  return { scheduler, verifier };
}
