import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { durationFromMs, durationMs } from '@bufbuild/protobuf/wkt';
import type { Client } from '@connectrpc/connect';
import {
  createProver,
  EnrolRequestSchema,
  EnrolmentService,
  proofHeader,
  type AgentKey,
  type Credential,
  type Prover,
} from '@drover/enrolment-protocol';
import {
  delay,
  DroverError,
  silentLogger,
  systemClock,
  type Clock,
  type Logger,
  type ScheduledCall,
} from '@drover/lease-kit';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { keepAgentKey } from './keep-agent-key.ts';
import { readCredential, removeCredential, writeCredential, type KeptCredential } from './kept-credential.ts';

/** An agent that wants to be enrolled. */
export interface AgentIdentityOptions {
  /** Folder of the key and the credential: the agent's own. */
  readonly dir: string;
  readonly agentId: string;
  /** Absent: it asks for approval. */
  readonly enrolmentToken?: string | undefined;
  /** For people. */
  readonly name: string;
  /** Pools that it would like to be in. */
  readonly pools: readonly string[];
}

/** One server that enrols. */
export interface EnrolmentServer {
  /** As the calls go there. */
  readonly baseUrl: string;
  readonly client: Client<typeof EnrolmentService>;
}

/** Who works together in an identity. */
export interface AgentIdentityDeps {
  /** Asked in turn, from the one that answered last. */
  readonly servers: readonly EnrolmentServer[];
  /** Default: that of the process. */
  readonly clock?: Clock;
  /** From 0 to below 1. Default `Math.random`. */
  readonly random?: () => number;
  /** Default: silence. */
  readonly logger?: Logger;
}

interface Held {
  readonly token: string;
  /** By the monotonic clock. */
  readonly untilMs: number;
}

const waitMs = 20_000;
const callTimeoutMs = 40_000;
const retryMsMin = 500;
const retryMsMax = 30_000;
/** A credential that is about to expire is not shown: the call would arrive too late. */
const marginMsMax = 10_000;
/** The part of its time after which it is renewed. */
const renewAfter = 2 / 3;

/**
 * Who an agent is to its servers: its key, how it is enrolled, and the credential that is renewed in time. A process that
 * starts again goes on with what it had; only one that was never enrolled applies.
 */
export class AgentIdentity implements Disposable {
  readonly key: AgentKey;
  /** Rejects when a server refuses the agent for good: revoked, rejected, a wrong token, another machine in its place. */
  readonly refused: Promise<never>;
  readonly #options: AgentIdentityOptions;
  readonly #servers: readonly EnrolmentServer[];
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #logger: Logger;
  readonly #prove: Prover;
  readonly #path: string;
  readonly #ending = new AbortController();
  readonly #refuse: (error: DroverError) => void;
  #refusal: DroverError | undefined;
  #held: Held | undefined;
  /** It was enrolled once: if its key is unknown now, another machine is in its place. */
  #wasEnrolled = false;
  #obtaining: Promise<Held> | undefined;
  #timer: ScheduledCall | undefined;
  #current = 0;
  /** The server's wall clock less the agent's. */
  #skewMs = 0;
  #saidPending = false;

  private constructor(options: AgentIdentityOptions, key: AgentKey, deps: AgentIdentityDeps) {
    this.key = key;
    this.#options = options;
    this.#servers = deps.servers;
    this.#clock = deps.clock ?? systemClock;
    this.#random = deps.random ?? Math.random;
    this.#logger = (deps.logger ?? silentLogger).child({ agentId: options.agentId, key: key.thumbprint });
    this.#prove = createProver(key, () => this.#clock.wallMs() + this.#skewMs);
    this.#path = join(options.dir, 'credential.json');
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => undefined);
    this.refused = promise;
    this.#refuse = reject;
  }

  /** Takes up what the folder holds, or draws a key. Throws `AGENT_KEY_EXPOSED` and `AGENT_KEY_INVALID`. */
  static async open(options: AgentIdentityOptions, deps: AgentIdentityDeps): Promise<AgentIdentity> {
    const key = await keepAgentKey(join(options.dir, 'agent-key.json'));
    const identity = new AgentIdentity(options, key, deps);
    identity.#takeUp(readCredential(identity.#path, options.agentId));
    return identity;
  }

  /** It has been enrolled before, so that a server knows it unless somebody has decided otherwise. */
  get wasEnrolled(): boolean {
    return this.#wasEnrolled;
  }

  /** Resolves when there is a credential; it may take until an operator has decided. Rejects when the agent is refused. */
  async enrolled(): Promise<void> {
    await this.#credential();
  }

  /** The headers that show a server, for one call, who calls. Waits for a credential if there is none. */
  async headers(url: string): Promise<Record<string, string>> {
    const { token } = await this.#credential();
    return { authorization: `DPoP ${token}`, [proofHeader]: await this.#prove({ url, credential: token }) };
  }

  /** A server has answered a call with this error: what it says of the credential is heeded at the next call. */
  learn({ code, message }: { readonly code: string; readonly message: string }): void {
    if (outdatedCodes.has(code)) this.#held = undefined;
    // Which of the two it is does not matter here: the error of the call has ended the session already.
    if (finalCodes.has(code)) this.#giveUp(new DroverError({ code, advice: 'denied', message }));
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
    this.#ending.abort();
  }

  #takeUp(kept: KeptCredential | undefined): void {
    if (kept === undefined) return;
    this.#wasEnrolled = true;
    const leftMs = kept.expiresAtMs - this.#clock.wallMs();
    if (leftMs <= 0) return;
    this.#hold(kept.token, leftMs, this.#clock.monotonicMs());
  }

  #hold(token: string, validMs: number, fromMs: number): Held {
    const held = { token, untilMs: fromMs + validMs - Math.min(marginMsMax, validMs / 10) };
    this.#held = held;
    this.#timer?.cancel();
    const inMs = Math.max(0, fromMs + validMs * renewAfter * (0.9 + 0.1 * this.#random()) - this.#clock.monotonicMs());
    this.#timer = this.#clock.schedule(Math.min(inMs, 2 ** 31 - 1), () => void this.#obtain().catch(() => undefined));
    return held;
  }

  async #credential(): Promise<Held> {
    if (this.#refusal !== undefined) throw this.#refusal;
    if (this.#held !== undefined && this.#held.untilMs > this.#clock.monotonicMs()) return this.#held;
    return this.#obtain();
  }

  #obtain(): Promise<Held> {
    this.#obtaining ??= this.#ask().finally(() => (this.#obtaining = undefined));
    return this.#obtaining;
  }

  /** Asks one server after the other until one has given a credential, or refused for good. */
  async #ask(): Promise<Held> {
    const { signal } = this.#ending;
    for (let failures = 0; !signal.aborted;) {
      const sentAtMs = this.#clock.monotonicMs();
      try {
        const credential = await this.#askOne(this.#servers[this.#current]!);
        failures = 0;
        if (credential === undefined) continue;
        return this.#keep(credential, sentAtMs);
      } catch (thrown) {
        const error = droverErrorFromConnect(thrown);
        if (signal.aborted) break;
        if (isFinal(error)) throw this.#giveUp(error);
        if (error.code === 'PROOF_STALE' && this.#correctClock(error)) continue;
        failures += 1;
        this.#current = (this.#current + 1) % this.#servers.length;
        this.#logger.warn({ code: error.code, err: error }, 'no credential for now; it is tried again');
        const backoffMs = Math.min(retryMsMax, retryMsMin * 2 ** Math.min(failures, 10));
        await delay(this.#clock, Math.max(error.retryAfterMs ?? 0, backoffMs * (0.5 + this.#random() / 2)), signal);
      }
    }
    throw new DroverError({ code: 'AGENT_ENDED', advice: 'cancelled', message: 'The agent has ended.' });
  }

  /** A credential, or undefined while nobody has decided. */
  async #askOne(server: EnrolmentServer): Promise<Credential | undefined> {
    try {
      const options = await this.#call(server, EnrolmentService.method.renewCredential.name);
      return (await server.client.renewCredential({}, options)).credential;
    } catch (thrown) {
      const error = droverErrorFromConnect(thrown);
      if (error.code !== 'ENROLMENT_UNKNOWN') throw error;
      // Applying again would only lock out whoever is in its place.
      if (this.#wasEnrolled) throw superseded(this.#options.agentId);
    }
    return this.#enrol(server);
  }

  async #enrol(server: EnrolmentServer): Promise<Credential | undefined> {
    const { agentId, enrolmentToken = '', name, pools } = this.#options;
    const request = create(EnrolRequestSchema, {
      agentId,
      enrolmentToken,
      name: name.slice(0, 128),
      pools: [...pools],
      wait: durationFromMs(this.#saidPending ? waitMs : 0),
    });
    const options = await this.#call(server, EnrolmentService.method.enrol.name);
    const { outcome } = await server.client.enrol(request, options);
    if (outcome.case === 'enrolled') {
      this.#logger.info({ pools: outcome.value.pools }, 'enrolled');
      return outcome.value;
    }
    if (!this.#saidPending) {
      this.#saidPending = true;
      this.#logger.info({}, `waiting for approval: drover agents approve ${agentId}`);
    }
    return undefined;
  }

  async #call({ baseUrl }: EnrolmentServer, method: string) {
    const url = `${baseUrl.replace(/\/+$/, '')}/${EnrolmentService.typeName}/${method}`;
    const headers = { [proofHeader]: await this.#prove({ url }) };
    return { headers, signal: this.#ending.signal, timeoutMs: callTimeoutMs };
  }

  #keep({ token, validFor }: Credential, sentAtMs: number): Held {
    const validMs = Math.max(1_000, validFor === undefined ? 60_000 : durationMs(validFor));
    this.#wasEnrolled = true;
    const expiresAtMs = this.#clock.wallMs() - (this.#clock.monotonicMs() - sentAtMs) + validMs;
    try {
      writeCredential(this.#path, { agentId: this.#options.agentId, token, expiresAtMs });
    } catch (error) {
      // The next process asks for another.
      this.#logger.warn({ err: error }, 'the credential could not be kept');
    }
    return this.#hold(token, validMs, sentAtMs);
  }

  #giveUp(error: DroverError): DroverError {
    if (this.#refusal !== undefined) return this.#refusal;
    this.#refusal = error;
    this.#held = undefined;
    this.#timer?.cancel();
    // A revoked agent has nothing to show; with the file it would count as one that was replaced once it is let in anew.
    if (error.advice !== 'fenced') removeCredential(this.#path);
    this.#refuse(error);
    return error;
  }

  /** True if the clock was off by more than before. */
  #correctClock({ details }: DroverError): boolean {
    const { serverTimeMs } = details;
    if (typeof serverTimeMs !== 'number') return false;
    const skewMs = serverTimeMs - this.#clock.wallMs();
    const isNews = Math.abs(skewMs - this.#skewMs) > 1_000;
    if (isNews)
      this.#logger.warn({ skewMs }, 'the clock of this machine is not that of the server; proofs allow for it');
    this.#skewMs = skewMs;
    return isNews;
  }
}

/** Codes after which asking again would give the same answer, until somebody has done something. */
const finalCodes: ReadonlySet<string> = new Set([
  'AGENT_ID_TAKEN',
  'AGENT_KEY_TAKEN',
  'AGENT_REVOKED',
  'CERTIFICATE_MISMATCH',
  'CREDENTIAL_SUPERSEDED',
  'ENROLMENT_CLOSED',
  'ENROLMENT_REJECTED',
  'ENROLMENT_TOKEN_EXPIRED',
  'ENROLMENT_TOKEN_INVALID',
  'ENROLMENT_TOKEN_REVOKED',
  'ENROLMENT_TOKEN_USED',
  'POOL_NOT_ALLOWED',
  'STORE_INPUT_INVALID',
]);

/** Codes that another credential, or the right time, helps against. */
const outdatedCodes: ReadonlySet<string> = new Set(['CREDENTIAL_EXPIRED', 'CREDENTIAL_INVALID', 'PROOF_STALE']);

function isFinal(error: DroverError): boolean {
  return finalCodes.has(error.code);
}

function superseded(agentId: string): DroverError {
  return new DroverError({
    code: 'CREDENTIAL_SUPERSEDED',
    advice: 'fenced',
    message: `Another machine has been enrolled as agent ${agentId}; this one is locked out. To enrol it anew, remove its folder of the identity.`,
    details: { agentId },
  });
}
