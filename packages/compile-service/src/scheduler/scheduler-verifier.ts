import { bearerOf, FailedSignIns, type ArrivingCall, type Caller, type CredentialVerifier } from '@drover/access';
import { SchedulerService } from '@drover/compile-protocol';
import { isDroverError, type Principal } from '@drover/lease-kit';
import type { CompileTenantRecord } from '@drover/lease-store';
import { decodeJwt } from 'jose';
import type { CompileScheduler } from './compile-scheduler.ts';
import { sessionInvalid, type WorkerSession } from './worker-session.ts';

/** What is asked of tokens of a tenant's own issuer. */
export interface TenantIssuer {
  readonly issuer: string;
  readonly audience: string;
  /** Empty: none. */
  readonly claim: string;
  readonly claimValue: string;
}

/** Who works together in a {@link SchedulerVerifier}. */
export interface SchedulerVerifierDeps {
  readonly scheduler: CompileScheduler;
  /** Credentials that were not right, by address. */
  readonly failures: FailedSignIns;
  /** Knows the bearers of an issuer's tokens: those whom its claim makes members have a role. */
  readonly verifierOf: (issuer: TenantIssuer, failures: FailedSignIns) => CredentialVerifier;
  /** The fleet's own issuer, whose tokens are looked at further on if they are no tenant's. Absent: there is none. */
  readonly fleetIssuer?: string | undefined;
}

/** Tells who calls the scheduler: workers by their sessions, people and programs of tenants by tokens of their issuers. */
export class SchedulerVerifier implements CredentialVerifier {
  readonly #deps: SchedulerVerifierDeps;
  /** Failures are counted once, here, however many tenants share an issuer. */
  readonly #uncounted = new FailedSignIns({ burst: Number.MAX_SAFE_INTEGER, addressesMax: 1 });
  readonly #verifiers = new Map<string, CredentialVerifier>();
  readonly #sessions = new WeakMap<Principal, WorkerSession>();
  readonly #tenants = new WeakMap<Principal, readonly string[]>();

  constructor(deps: SchedulerVerifierDeps) {
    this.#deps = deps;
  }

  verify(call: ArrivingCall): Caller | undefined | Promise<Caller | undefined> {
    if (call.service !== SchedulerService.typeName) return undefined;
    switch (call.method) {
      case SchedulerService.method.reserveCompiles.name:
        return this.#memberOf(call);
      case SchedulerService.method.openWorkerSession.name:
        // Whoever it is gets nothing without the worker token, which the body has.
        return this.#caller(call, { kind: 'agent', id: 'compile-worker' }, 'none');
      default:
        return this.#worker(call);
    }
  }

  /** The session that a call has shown. Throws `WORKER_SESSION_INVALID`. */
  sessionOf(principal: Principal): WorkerSession {
    const session = this.#sessions.get(principal);
    if (session === undefined) throw sessionInvalid();
    return session;
  }

  /** The tenants that the token of a call has shown; undefined: it was none of a tenant's issuer. */
  tenantsOf(principal: Principal): readonly string[] | undefined {
    return this.#tenants.get(principal);
  }

  #caller(call: ArrivingCall, principal: Principal, credential: string): Caller {
    return { principal, address: call.peer.remoteAddress, credential };
  }

  async #worker(call: ArrivingCall): Promise<Caller | undefined> {
    const token = bearerOf(call.header);
    if (token === undefined) return undefined;
    const { failures, scheduler } = this.#deps;
    failures.check(call.peer.remoteAddress);
    try {
      const session = await scheduler.sessions.verify(token);
      const principal: Principal = { kind: 'agent', id: `compile-worker/${session.workerId}` };
      this.#sessions.set(principal, session);
      return this.#caller(call, principal, 'worker session');
    } catch (error) {
      if (isDroverError(error, 'WORKER_SESSION_INVALID')) failures.note(call.peer.remoteAddress);
      throw error;
    }
  }

  async #memberOf(call: ArrivingCall): Promise<Caller | undefined> {
    const claimed = claimedIn(bearerOf(call.header));
    if (claimed === undefined) return undefined;
    const { failures, scheduler, fleetIssuer } = this.#deps;
    const tenants = await scheduler.tenants();
    this.#forgetVerifiers(tenants);
    const possible = [...tenants.values()].filter(
      ({ issuer, audience }) => issuer !== '' && issuer === claimed.issuer && claimed.audiences.includes(audience),
    );
    if (possible.length === 0) return undefined;
    failures.check(call.peer.remoteAddress);
    const members: string[] = [];
    let found: Caller | undefined;
    let refusal: unknown;
    for (const tenant of possible) {
      try {
        const caller = await this.#verifierOf(tenant).verify(call);
        if (caller?.role === undefined) continue;
        found ??= caller;
        members.push(tenant.tenantId);
      } catch (error) {
        refusal ??= error;
      }
    }
    if (found === undefined) {
      if (claimed.issuer === fleetIssuer) return undefined;
      if (refusal === undefined) return undefined;
      if (!isDroverError(refusal, 'ISSUER_UNAVAILABLE')) failures.note(call.peer.remoteAddress);
      throw refusal;
    }
    // Named by its tenant: whom an issuer of a tenant calls "admin" is nobody else's admin.
    const principal: Principal = { kind: 'user', id: `${members[0]}/${found.principal.id}` };
    this.#tenants.set(principal, members);
    return { ...found, principal, role: 'submitter', credential: 'OpenID Connect of a tenant' };
  }

  #verifierOf(tenant: CompileTenantRecord): CredentialVerifier {
    const key = issuerKey(tenant);
    let verifier = this.#verifiers.get(key);
    if (verifier === undefined) {
      verifier = this.#deps.verifierOf(tenant, this.#uncounted);
      this.#verifiers.set(key, verifier);
    }
    return verifier;
  }

  #forgetVerifiers(tenants: ReadonlyMap<string, CompileTenantRecord>): void {
    if (this.#verifiers.size <= tenants.size) return;
    const kept = new Set([...tenants.values()].map(issuerKey));
    for (const key of this.#verifiers.keys()) if (!kept.has(key)) this.#verifiers.delete(key);
  }
}

function issuerKey({ issuer, audience, claim, claimValue }: TenantIssuer): string {
  return JSON.stringify([issuer, audience, claim, claimValue]);
}

/** What a token says of itself, before anybody has checked it: enough to know whom to ask. */
function claimedIn(token: string | undefined) {
  if (token === undefined || token.length > 16_384) return undefined;
  try {
    const { iss, aud } = decodeJwt(token);
    if (typeof iss !== 'string') return undefined;
    return { issuer: iss, audiences: Array.isArray(aud) ? aud : aud === undefined ? [] : [aud] };
  } catch {
    return undefined;
  }
}
