import { createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate, type KeyObject } from 'node:crypto';
import { rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '@connectrpc/connect';
import { PairingService, type AgentAddress } from '@drover/herd-protocol';
import { DroverError, silentLogger, systemClock, type Clock, type Logger } from '@drover/lease-kit';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { filesOf, openPrivateFolder, readPrivately, writePrivately } from '../private-files.ts';
import { pairedTls, type AgentTls } from './agent-tls.ts';
import { createAgentTransport } from './agent-transport.ts';

/** An agent that has let this client in. */
export interface TrustedAgent {
  readonly agentId: string;
  /** As it called itself. */
  readonly name: string;
  /** Ed25519, 32 bytes: signs its discovery replies. */
  readonly key: Uint8Array;
  /** Where it was paired. It may be elsewhere by now. */
  readonly address: AgentAddress;
  /** By the wall clock. */
  readonly pairedAtMs: number;
  /** When the client's certificate there was got; it begins earlier, for clocks differ. */
  readonly certifiedAtMs: number;
  /** Until when that is valid. */
  readonly notAfterMs: number;
}

/** What an agent gave when it let this client in. */
export interface Admission {
  readonly agentId: string;
  readonly name: string;
  readonly key: Uint8Array;
  /** In DER, as the certificate. */
  readonly authority: Uint8Array;
  readonly certificate: Uint8Array;
  readonly address: AgentAddress;
}

/** Who works together in it. */
export interface HerdTrustDeps {
  /** Default: that of the process. */
  readonly clock?: Clock | undefined;
  /** Default: silence. */
  readonly logger?: Logger | undefined;
}

interface KeptAgent extends TrustedAgent {
  readonly authority: X509Certificate;
  readonly certificate: X509Certificate;
}

const renewTimeoutMs = 5_000;
const agentIdPattern = /^[\w.@:+-]{1,128}$/;

/** Where a user's trust is kept: DROVER_HERD_DIR, or `drover/herd` in the user's folder of configuration. */
export function herdTrustDir(env: Readonly<Record<string, string | undefined>>): string {
  const home = env['XDG_CONFIG_HOME'] ?? join(env['HOME'] ?? homedir(), '.config');
  return env['DROVER_HERD_DIR'] ?? join(home, 'drover', 'herd');
}

/**
 * The agents that a user is paired with: a folder of his own, with his key and a file for each agent (0600). A certificate is
 * renewed when it is used and less than half of its life is left; one that has ended lets nobody in any more.
 */
export class HerdTrust {
  readonly #agentsPath: string;
  readonly #keyPath: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #renewing = new Map<string, Promise<void>>();
  #key: KeyObject | undefined;

  constructor(dir: string, deps: HerdTrustDeps = {}) {
    this.#agentsPath = join(dir, 'agents');
    this.#keyPath = join(dir, 'key.json');
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
  }

  /** Every paired agent, by id. Throws `HERD_FILE_EXPOSED` and `HERD_FILE_INVALID`, as the other methods do. */
  list(): TrustedAgent[] {
    return filesOf(this.#agentsPath)
      .map((name) => this.#read(decodeURIComponent(name)))
      .filter((agent) => agent !== undefined)
      .map(({ authority: _, certificate: __, ...agent }) => agent);
  }

  /** The key that signs this agent's discovery replies; undefined where it is not paired. */
  keyOf(agentId: string): Uint8Array | undefined {
    return this.#read(agentId)?.key;
  }

  /**
   * TLS to an agent that is paired. Renews the certificate before it answers, if it is time to and the agent can be reached at
   * `address`. Throws `NOT_PAIRED`, `CERTIFICATE_EXPIRED`, `CLIENT_REVOKED`, `AGENT_NOT_TRUSTED`; an abort throws the signal's
   * reason.
   */
  async tlsFor(
    agent: { readonly agentId: string; readonly address: AgentAddress },
    signal?: AbortSignal,
  ): Promise<AgentTls> {
    const { agentId, address } = agent;
    const kept = this.#require(agentId);
    const { certifiedAtMs, notAfterMs } = kept;
    const leftMs = notAfterMs - this.#clock.wallMs();
    if (leftMs <= 0) throw certificateExpired(agentId, new Date(notAfterMs));
    if (leftMs < (notAfterMs - certifiedAtMs) / 2) await this.#renew(kept, address, signal);
    signal?.throwIfAborted();
    return this.#tlsOf(this.#require(agentId));
  }

  /** The public key that certificates of this client are for: SubjectPublicKeyInfo in DER. Draws the key if there is none. */
  clientKey(): Uint8Array {
    return createPublicKey(this.#privateKey()).export({ type: 'spki', format: 'der' });
  }

  /**
   * Keeps what an agent gave that has been proven to be the one with the code or the token. Throws `PAIRING_ANSWER_INVALID` for
   * what does not fit together, and `AGENT_ID_TAKEN` where another agent is known by that id, unless `replace`.
   */
  keep(admission: Admission, options: { readonly replace?: boolean | undefined } = {}): TrustedAgent {
    const { agentId, name, key, address } = admission;
    if (!agentIdPattern.test(agentId) || name.length > 256 || key.length !== 32) {
      throw answerInvalid('its id, name or key is not of the form that they have');
    }
    const [authority, certificate] = [parsed(admission.authority), parsed(admission.certificate)];
    this.#check(authority, certificate);
    const known = this.#read(agentId);
    if (known !== undefined && !known.authority.raw.equals(authority.raw) && options.replace !== true) {
      throw agentIdTaken(agentId);
    }
    const agent: TrustedAgent = {
      agentId,
      name,
      key,
      address,
      pairedAtMs: this.#clock.wallMs(),
      certifiedAtMs: this.#clock.wallMs(),
      notAfterMs: certificate.validToDate.getTime(),
    };
    this.#write({ ...agent, authority, certificate });
    return agent;
  }

  /** Forgets an agent. Throws `NOT_PAIRED`. */
  forget(agentId: string): void {
    this.#require(agentId);
    rmSync(this.#fileOf(agentId), { force: true });
  }

  #renew(kept: KeptAgent, address: AgentAddress, signal: AbortSignal | undefined): Promise<void> {
    const { agentId } = kept;
    let renewing = this.#renewing.get(agentId);
    if (renewing === undefined) {
      renewing = this.#askAnew(kept, address, signal).finally(() => this.#renewing.delete(agentId));
      this.#renewing.set(agentId, renewing);
    }
    return renewing;
  }

  async #askAnew(kept: KeptAgent, address: AgentAddress, signal: AbortSignal | undefined): Promise<void> {
    using calls = createAgentTransport(address, this.#tlsOf(kept));
    try {
      const client = createClient(PairingService, calls.transport);
      const answer = await client.renewCertificate({}, { timeoutMs: renewTimeoutMs, ...(signal && { signal }) });
      const certificate = parsed(answer.certificate?.certificate ?? new Uint8Array());
      this.#check(kept.authority, certificate);
      const notAfterMs = certificate.validToDate.getTime();
      this.#write({ ...kept, certificate, certifiedAtMs: this.#clock.wallMs(), notAfterMs });
    } catch (thrown) {
      const error = droverErrorFromConnect(thrown);
      if (finalCodes.has(error.code)) throw error;
      // The one that there is lets it in still.
      if (signal?.aborted !== true)
        this.#logger.warn({ agentId: kept.agentId, err: error }, 'no new certificate for now');
    }
  }

  /** Throws for a certificate that would be of no use with this authority and this client's key. */
  #check(authority: X509Certificate, certificate: X509Certificate): void {
    if (!authority.ca) throw answerInvalid('its authority is none');
    if (!certificate.verify(authority.publicKey)) throw answerInvalid('its authority has not signed the certificate');
    if (!certificate.checkPrivateKey(this.#privateKey())) throw answerInvalid('the certificate is for another key');
  }

  #tlsOf({ agentId, authority, certificate }: KeptAgent): AgentTls {
    const key = this.#privateKey().export({ type: 'pkcs8', format: 'pem' }).toString();
    return pairedTls({ agentId, authority: authority.toString(), certificate: certificate.toString(), key });
  }

  #privateKey(): KeyObject {
    return (this.#key ??= this.#keepKey());
  }

  #keepKey(): KeyObject {
    const kept = readPrivately(this.#keyPath, (value) => {
      const { key } = value as { readonly key?: unknown };
      if (typeof key !== 'string') return undefined;
      return createPrivateKey({ key: Buffer.from(key, 'base64'), type: 'pkcs8', format: 'der' });
    });
    if (kept !== undefined) return kept;
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    openPrivateFolder(join(this.#keyPath, '..'));
    writePrivately(this.#keyPath, { key: privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64') });
    return privateKey;
  }

  #require(agentId: string): KeptAgent {
    const kept = this.#read(agentId);
    if (kept === undefined) throw notPaired(agentId);
    return kept;
  }

  #read(agentId: string): KeptAgent | undefined {
    if (!agentIdPattern.test(agentId)) return undefined;
    return readPrivately(this.#fileOf(agentId), (value) => keptAgentFrom(agentId, value));
  }

  #write({ authority, certificate, key, ...agent }: KeptAgent): void {
    openPrivateFolder(this.#agentsPath);
    writePrivately(this.#fileOf(agent.agentId), {
      ...agent,
      key: Buffer.from(key).toString('base64'),
      authority: authority.raw.toString('base64'),
      certificate: certificate.raw.toString('base64'),
    });
  }

  #fileOf(agentId: string): string {
    return join(this.#agentsPath, `${encodeURIComponent(agentId)}.json`);
  }
}

/** What the agent says of this client for good. */
const finalCodes: ReadonlySet<string> = new Set([
  'AGENT_NOT_TRUSTED',
  'CERTIFICATE_EXPIRED',
  'CLIENT_REVOKED',
  'CLIENT_UNKNOWN',
]);

function keptAgentFrom(agentId: string, value: unknown): KeptAgent | undefined {
  const { key, authority, certificate, ...agent } = value as Record<string, unknown> & Partial<TrustedAgent>;
  if (typeof key !== 'string' || typeof authority !== 'string' || typeof certificate !== 'string') return undefined;
  if (typeof agent.name !== 'string' || typeof agent.address?.host !== 'string') return undefined;
  if (![agent.pairedAtMs, agent.certifiedAtMs, agent.notAfterMs].every(Number.isFinite)) return undefined;
  return {
    ...(agent as Omit<TrustedAgent, 'key'>),
    agentId,
    key: Buffer.from(key, 'base64'),
    authority: new X509Certificate(Buffer.from(authority, 'base64')),
    certificate: new X509Certificate(Buffer.from(certificate, 'base64')),
  };
}

function parsed(der: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch {
    throw answerInvalid('what should be a certificate is none');
  }
}

function answerInvalid(why: string): DroverError {
  return new DroverError({
    code: 'PAIRING_ANSWER_INVALID',
    advice: 'internal',
    message: `The agent's answer cannot be used: ${why}.`,
  });
}

function agentIdTaken(agentId: string): DroverError {
  return new DroverError({
    code: 'AGENT_ID_TAKEN',
    advice: 'conflict',
    message: `Another agent is known as ${agentId}: if it is the same machine with a new state folder, "drover herd unpair ${agentId}" first`,
  });
}

function notPaired(agentId: string): DroverError {
  return new DroverError({
    code: 'NOT_PAIRED',
    advice: 'denied',
    message: `This user is not paired with agent ${agentId.slice(0, 128)}: "drover herd code" on its machine shows a code, "drover herd pair" takes it`,
    details: { agentId: agentId.slice(0, 128) },
  });
}

function certificateExpired(agentId: string, at: Date): DroverError {
  return new DroverError({
    code: 'CERTIFICATE_EXPIRED',
    advice: 'denied',
    message: `The certificate for agent ${agentId} ended at ${at.toISOString()}, for it was not used in time: pair anew, with "drover herd code" on its machine and "drover herd pair"`,
    details: { agentId },
  });
}
