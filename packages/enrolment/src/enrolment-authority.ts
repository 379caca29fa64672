import { createHash } from 'node:crypto';
import { proofHeader, proofInvalid, verifyProof, type VerifiedProof } from '@drover/enrolment-protocol';
import { silentLogger, systemClock, type Clock, type Logger, type Principal } from '@drover/lease-kit';
import {
  agentRevoked,
  type ApplicationOutcome,
  type EnrolmentApplication,
  type EnrolmentRecord,
  type EnrolmentStore,
  type StoreSignals,
} from '@drover/lease-store';
import { errors, jwtVerify, SignJWT } from 'jose';
import {
  certificateMismatch,
  credentialExpired,
  credentialInvalid,
  credentialKeyMismatch,
  credentialSuperseded,
  enrolmentClosed,
} from './credential-errors.ts';
import { CredentialKeys } from './credential-keys.ts';
import { ReplayGuard } from './replay-guard.ts';
import { Standings } from './standings.ts';

/** How a server enrols. */
export interface EnrolmentAuthorityOptions {
  /** How long a credential is valid, in ms. Default 1 h. */
  readonly credentialMs?: number;
  /** How long one key signs credentials, in ms. Default 30 days. */
  readonly keyRotateMs?: number;
  /** Seals the private halves of those keys in the store, the same on every server. Absent: they are open there. */
  readonly sealSecret?: string;
  /** Machines without a token wait for approval; otherwise they are refused. Default true. */
  readonly anonymous?: boolean;
  /** HOST:PORT by which agents call: a proof for any other name is refused. Absent or empty: as each call says. */
  readonly authorities?: readonly string[];
}

/** Who works together in an authority. */
export interface EnrolmentAuthorityDeps {
  readonly store: EnrolmentStore;
  readonly signals: StoreSignals;
  /** Default: that of the process. */
  readonly clock?: Clock;
  /** Default: silence. */
  readonly logger?: Logger;
}

/** A call before its body is read. */
export interface AgentCall {
  /** Full name of the service. */
  readonly service: string;
  readonly method: string;
  readonly header: Headers;
  /** HOST:PORT that the caller called; empty if that is not known. */
  readonly authority: string;
  /** Names in the client certificate that TLS has checked; absent: there is none. */
  readonly certificateNames?: readonly string[] | undefined;
}

/** A credential that was issued. */
export interface IssuedCredential {
  readonly token: string;
  readonly validMs: number;
  readonly enrolment: EnrolmentRecord;
}

interface CredentialClaims {
  readonly agentId: string;
  readonly generation: number;
  readonly thumbprint: string;
  readonly expiresAtMs: number;
}

const issuer = 'drover';
const audience = 'drover-fleet';
const credentialType = 'drover-agent+jwt';
const credentialLengthMax = 4_096;
const rememberedMax = 20_000;
/** How far the clocks of two servers may be apart. */
const serverSkewMs = 30_000;

/** Decides who is an agent: issues credentials and checks them, with the store that all servers share. */
export class EnrolmentAuthority {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly store: EnrolmentStore;
  readonly signals: StoreSignals;
  readonly #options: EnrolmentAuthorityOptions;
  readonly #credentialMs: number;
  readonly #keys: CredentialKeys;
  readonly #standings: Standings;
  readonly #replays: ReplayGuard;
  /** Credentials whose signature was found right. */
  readonly #verified = new Map<string, CredentialClaims>();
  /** Those that a credential has shown, as opposed to those that merely have a name. */
  readonly #principals = new WeakSet<Principal>();
  readonly #unlisten: () => void;

  constructor(options: EnrolmentAuthorityOptions, deps: EnrolmentAuthorityDeps) {
    this.#options = options;
    this.store = deps.store;
    this.signals = deps.signals;
    this.clock = deps.clock ?? systemClock;
    this.logger = deps.logger ?? silentLogger;
    this.#credentialMs = options.credentialMs ?? 3_600_000;
    const principal: Principal = { kind: 'service', id: 'enrolment' };
    const base = { store: deps.store, clock: this.clock, principal };
    this.#keys = new CredentialKeys({
      ...base,
      sealSecret: options.sealSecret,
      rotateMs: options.keyRotateMs ?? 30 * 86_400_000,
      credentialMs: this.#credentialMs,
    });
    this.#standings = new Standings(base);
    this.#replays = new ReplayGuard(this.clock);
    this.#unlisten = deps.signals.listen((signal) => {
      if (signal.kind === 'enrolment') this.#standings.forget(signal.agentId);
      if (signal.kind === 'resync') this.#standings.forgetAll();
    });
  }

  /** Stops listening; idempotent. */
  stop(): void {
    this.#unlisten();
  }

  /** True for a call that shows an agent's credential, right or wrong. */
  isShown(header: Headers): boolean {
    return /^dpop /i.test(header.get('authorization') ?? '');
  }

  /**
   * The agent whose credential a call shows. Throws `CREDENTIAL_INVALID`, `CREDENTIAL_EXPIRED`, `CREDENTIAL_KEY_MISMATCH`,
   * `AGENT_REVOKED`, `CREDENTIAL_SUPERSEDED` (`fenced`), `CERTIFICATE_MISMATCH`, `PROOF_INVALID`, `PROOF_STALE`,
   * `PROOF_REPLAYED`, `PROOFS_TOO_MANY`, and what the store throws.
   */
  async authenticate(call: AgentCall): Promise<Principal> {
    const token = /^dpop ([\w.-]+)$/i.exec(call.header.get('authorization') ?? '')?.[1];
    if (token === undefined || token.length > credentialLengthMax) throw credentialInvalid();
    const claims = await this.#claimsOf(token);
    const proof = await this.#proofOf(call, token);
    if (proof.thumbprint !== claims.thumbprint) throw credentialKeyMismatch();
    const { agentId, generation } = claims;
    this.checkStanding(agentId, generation, await this.#standings.of(agentId), proof.thumbprint);
    // After the signatures, so that nobody fills the memory with proofs of keys that are no agents'.
    this.#replays.take(proof);
    checkCertificate(call, agentId);
    const principal: Principal = { kind: 'agent', id: agentId };
    this.#principals.add(principal);
    return principal;
  }

  /** The key that a call to the enrolment service proves. Throws `PROOF_INVALID` and `PROOF_STALE`. */
  async proveKey(call: AgentCall): Promise<Principal> {
    return keyPrincipal((await this.#proofOf(call, undefined)).thumbprint);
  }

  /** True if a credential has shown this principal. */
  hasCredential(principal: Principal): boolean {
    return this.#principals.has(principal);
  }

  /** The enrolment of an agent; undefined for one that never was enrolled. `fresh`: not what was so a moment ago. */
  standing(agentId: string, fresh = false): Promise<EnrolmentRecord | undefined> {
    return fresh ? this.#standings.now(agentId) : this.#standings.of(agentId);
  }

  /** Throws unless a credential of a generation is worth something. */
  checkStanding(agentId: string, generation: number, now: EnrolmentRecord | undefined, thumbprint?: string): void {
    if (now?.state === 'enrolled' && now.generation === generation) return;
    if (now === undefined) throw credentialInvalid();
    if (now.state === 'revoked') throw agentRevoked(agentId);
    // The same machine, enrolled anew: what it shows is only out of date.
    if (now.keyThumbprint === thumbprint) throw credentialExpired();
    throw credentialSuperseded(agentId);
  }

  /** Lets a machine in, or lets it wait; see `EnrolmentStore.apply`. Throws `ENROLMENT_CLOSED` too. */
  async apply(application: EnrolmentApplication, call: AgentApplicationCall): Promise<ApplicationOutcome> {
    checkCertificate(call, application.agentId);
    if (application.token === undefined && this.#options.anonymous === false) {
      const known = await this.store.enrolmentOfKey(application.keyThumbprint, call);
      if (known === undefined) throw enrolmentClosed();
    }
    const outcome = await this.store.apply(application, call);
    if (outcome.kind === 'enrolled' && outcome.isNew) {
      const { agentId } = application;
      this.signals.announce({ kind: 'enrolment', agentId });
      this.logger.info({ agentId, tokenId: application.token?.tokenId }, 'an agent has been enrolled');
    }
    return outcome;
  }

  /** A new credential for the agent whose key this is. Throws `AGENT_REVOKED` and `ENROLMENT_UNKNOWN` is the caller's. */
  async issue(enrolment: EnrolmentRecord, principal: Principal): Promise<IssuedCredential> {
    const { agentId, generation, keyThumbprint } = enrolment;
    if (enrolment.state === 'revoked') throw agentRevoked(agentId);
    const { keyId, key } = await this.#keys.signer();
    const nowMs = this.clock.wallMs();
    const token = await new SignJWT({ gen: generation, cnf: { jkt: keyThumbprint } })
      .setProtectedHeader({ alg: 'EdDSA', typ: credentialType, kid: keyId })
      .setIssuer(issuer)
      .setAudience(audience)
      .setSubject(agentId)
      .setIssuedAt(Math.floor(nowMs / 1_000))
      .setExpirationTime(Math.ceil((nowMs + this.#credentialMs) / 1_000))
      .sign(key);
    await this.store.recordCredential(agentId, generation, this.#credentialMs, { principal });
    return { token, validMs: this.#credentialMs, enrolment };
  }

  async #proofOf(call: AgentCall, credential: string | undefined): Promise<VerifiedProof> {
    const proof = call.header.get(proofHeader);
    if (proof === null) throw proofInvalid('it is missing');
    const { authorities = [] } = this.#options;
    // What a call says of itself is no proof where the names are known: a server that is none of ours could pass proofs on.
    return verifyProof(proof, {
      path: `/${call.service}/${call.method}`,
      authorities: authorities.length > 0 ? authorities : [call.authority],
      credential,
      nowMs: this.clock.wallMs(),
    });
  }

  async #claimsOf(token: string): Promise<CredentialClaims> {
    const name = createHash('sha256').update(token).digest('base64');
    const claims = this.#verified.get(name) ?? (await this.#verify(token));
    if (claims.expiresAtMs + serverSkewMs <= this.clock.wallMs()) {
      this.#verified.delete(name);
      throw credentialExpired();
    }
    this.#verified.set(name, claims);
    if (this.#verified.size > rememberedMax) this.#verified.delete(this.#verified.keys().next().value!);
    return claims;
  }

  async #verify(token: string): Promise<CredentialClaims> {
    try {
      const { payload } = await jwtVerify(
        token,
        async (header) => {
          const key = await this.#keys.verifier(header);
          if (key === undefined) throw credentialInvalid();
          return key;
        },
        {
          issuer,
          audience,
          typ: credentialType,
          algorithms: ['EdDSA'],
          currentDate: new Date(this.clock.wallMs()),
          clockTolerance: serverSkewMs / 1_000,
        },
      );
      const { sub, gen, exp } = payload;
      const jkt = (payload['cnf'] as { readonly jkt?: unknown } | undefined)?.jkt;
      if (typeof sub !== 'string' || typeof gen !== 'number' || typeof jkt !== 'string' || exp === undefined) {
        throw credentialInvalid();
      }
      return { agentId: sub, generation: gen, thumbprint: jkt, expiresAtMs: exp * 1_000 };
    } catch (error) {
      if (error instanceof errors.JWTExpired) throw credentialExpired();
      if (error instanceof errors.JOSEError) throw credentialInvalid(error);
      throw error;
    }
  }
}

/** On whose behalf an application reaches the store, and what TLS has shown. */
export interface AgentApplicationCall {
  readonly principal: Principal;
  readonly signal?: AbortSignal;
  readonly certificateNames?: readonly string[] | undefined;
}

const keyPrefix = 'key:';

function keyPrincipal(thumbprint: string): Principal {
  return { kind: 'agent', id: `${keyPrefix}${thumbprint}` };
}

/** The thumbprint of the key that a call to the enrolment service has proved. */
export function provedThumbprint({ kind, id }: Principal): string {
  if (kind !== 'agent' || !id.startsWith(keyPrefix)) throw proofInvalid('it is missing');
  return id.slice(keyPrefix.length);
}

/** A client certificate need not be shown (the listener may require one), but never that of somebody else. */
function checkCertificate({ certificateNames: names }: Pick<AgentCall, 'certificateNames'>, agentId: string): void {
  if (names !== undefined && !names.includes(agentId)) throw certificateMismatch(agentId, names);
}
