import { create } from '@bufbuild/protobuf';
import { durationFromMs, durationMs } from '@bufbuild/protobuf/wkt';
import type { ConnectRouter, HandlerContext, ServiceImpl } from '@connectrpc/connect';
import {
  CredentialSchema,
  EnrolmentService,
  EnrolResponseSchema,
  RenewCredentialResponseSchema,
  type Credential,
  type EnrolRequest,
  type EnrolResponse,
} from '@drover/enrolment-protocol';
import { DroverError, isDroverError, type Principal } from '@drover/lease-kit';
import { agentRevoked, type EnrolmentApplication } from '@drover/lease-store';
import { connectErrorFrom } from '@drover/rpc-errors';
import { CallCount, defaultEnrolmentCallLimits, Turns, type EnrolmentCallLimits } from './call-limits.ts';
import { parseEnrolmentToken } from './enrolment-token.ts';
import { provedThumbprint, type EnrolmentAuthority, type IssuedCredential } from './enrolment-authority.ts';

/** Remembers by address who has shown what was not right; `FailedSignIns` of `@drover/access` is one. */
export interface FailedTokens {
  /** Throws for an address that must wait. */
  check(address: string): void;
  note(address: string): void;
}

/** Who works together in the service. */
export interface EnrolmentServiceDeps {
  readonly authority: EnrolmentAuthority;
  /** On whose behalf a call is made: what `EnrolmentAuthority.proveKey` answered. */
  readonly principalOf: (context: HandlerContext) => Principal;
  /** Where a call comes from. */
  readonly peerOf: (context: HandlerContext) => {
    readonly remoteAddress: string;
    readonly certificateNames?: readonly string[] | undefined;
  };
  /** Slows those down who try registration tokens. */
  readonly failures: FailedTokens;
}

const waitMsMax = 60_000;
/** A message of strangers: what it may say is a few names. */
const messageBytesMax = 64 * 1024;
/** How often a call that waits looks although no signal came. */
const lookMs = 5_000;

/** Puts drover.enrolment.v1.EnrolmentService on a router. */
export function registerEnrolmentService(
  router: ConnectRouter,
  deps: EnrolmentServiceDeps,
  options: Partial<EnrolmentCallLimits> = {},
): ConnectRouter {
  const { authority } = deps;
  const limits = { ...defaultEnrolmentCallLimits, ...options };
  const applications = new CallCount(limits.applicationsMax, limits.applicationsPerAddressMax);
  const renewals = new CallCount(limits.renewalsMax);
  const turns = new Turns(limits.storeCallsMax);
  const answer = async <T>(calls: CallCount, context: HandlerContext, run: () => Promise<T>): Promise<T> => {
    try {
      return await calls.during(deps.peerOf(context).remoteAddress, run);
    } catch (error) {
      throw connectErrorFrom(error);
    }
  };
  const implementation: ServiceImpl<typeof EnrolmentService> = {
    enrol: (request, context) =>
      answer(applications, context, async () => {
        const principal = deps.principalOf(context);
        const peer = deps.peerOf(context);
        const application = applicationFrom(request, provedThumbprint(principal), peer.remoteAddress);
        const call = { principal, signal: context.signal, certificateNames: peer.certificateNames };
        const waitMs = request.wait === undefined ? 0 : Math.min(waitMsMax, Math.max(0, durationMs(request.wait)));
        const { failures } = deps;
        if (application.token !== undefined) failures.check(peer.remoteAddress);
        try {
          return await enrolled(authority, application, call, { waitMs, turns });
        } catch (error) {
          if (isDroverError(error, 'ENROLMENT_TOKEN_INVALID')) failures.note(peer.remoteAddress);
          throw error;
        }
      }),
    renewCredential: (_request, context) =>
      answer(renewals, context, async () => {
        const principal = deps.principalOf(context);
        const thumbprint = provedThumbprint(principal);
        const enrolment = await authority.store.enrolmentOfKey(thumbprint, { principal, signal: context.signal });
        if (enrolment === undefined) throw enrolmentUnknown(thumbprint);
        if (enrolment.state === 'revoked') throw agentRevoked(enrolment.agentId);
        const issued = await authority.issue(enrolment, principal);
        return create(RenewCredentialResponseSchema, { credential: credentialOf(issued) });
      }),
  };
  return router.service(EnrolmentService, implementation, { readMaxBytes: messageBytesMax });
}

type Call = Parameters<EnrolmentAuthority['apply']>[1] & { readonly signal: AbortSignal };

/** Enrols, or waits until somebody has decided or the time is over. */
async function enrolled(
  authority: EnrolmentAuthority,
  application: EnrolmentApplication,
  call: Call,
  { waitMs, turns }: { readonly waitMs: number; readonly turns: Turns },
): Promise<EnrolResponse> {
  const { agentId, keyThumbprint } = application;
  const untilMs = authority.clock.monotonicMs() + waitMs;
  for (;;) {
    // Listens before it looks: what is decided in between must not be missed.
    using decided = nextDecision(authority, agentId, call.signal);
    const outcome = await turns.take(call.signal, () => authority.apply(application, call));
    if (outcome.kind === 'enrolled') {
      const issued = await authority.issue(outcome.enrolment, call.principal);
      return create(EnrolResponseSchema, { outcome: { case: 'enrolled', value: credentialOf(issued) } });
    }
    const leftMs = untilMs - authority.clock.monotonicMs();
    if (leftMs <= 0 || call.signal.aborted) {
      return create(EnrolResponseSchema, { outcome: { case: 'pending', value: { keyThumbprint } } });
    }
    await decided.within(Math.min(leftMs, lookMs));
  }
}

function nextDecision({ signals, clock }: EnrolmentAuthority, agentId: string, signal: AbortSignal) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const woken = (): void => resolve();
  const unlisten = signals.listen((heard) => {
    if (heard.kind === 'resync' || (heard.kind === 'enrolment' && heard.agentId === agentId)) resolve();
  });
  signal.addEventListener('abort', woken, { once: true });
  let timer: { cancel(): void } | undefined;
  return {
    within(ms: number): Promise<void> {
      timer = clock.schedule(ms, resolve);
      return promise;
    },
    [Symbol.dispose]() {
      timer?.cancel();
      unlisten();
      signal.removeEventListener('abort', woken);
    },
  };
}

function applicationFrom(request: EnrolRequest, keyThumbprint: string, address: string): EnrolmentApplication {
  const { agentId, name, pools, enrolmentToken } = request;
  const base = { agentId, keyThumbprint, name, pools, address };
  return enrolmentToken === '' ? base : { ...base, token: parseEnrolmentToken(enrolmentToken) };
}

function credentialOf({ token, validMs, enrolment }: IssuedCredential): Credential {
  return create(CredentialSchema, {
    token,
    validFor: durationFromMs(validMs),
    agentId: enrolment.agentId,
    generation: BigInt(enrolment.generation),
    pools: [...enrolment.pools],
  });
}

function enrolmentUnknown(thumbprint: string): DroverError {
  return new DroverError({
    code: 'ENROLMENT_UNKNOWN',
    advice: 'not-found',
    message: `No agent is enrolled with the key ${thumbprint}: another key has taken its place, or it never was.`,
  });
}
