import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  X509Certificate,
  type KeyObject,
} from 'node:crypto';
import { join } from 'node:path';
import { silentLogger, systemClock, type Clock, type Logger, type ScheduledCall } from '@drover/lease-kit';
import type { KeyWithCertificate } from './certificates.ts';
import { openPrivateFolder, readPrivately, writePrivately } from '../private-files.ts';
import { sha256 } from '../proof/pairing-proofs.ts';

/** Who an agent is in the herd. */
export interface HerdIdentityOptions {
  /** Folder of its keys: the agent's own. */
  readonly dir: string;
  readonly agentId: string;
  /** For people. Default: the agent id. */
  readonly name?: string | undefined;
  /** How long its TLS certificate is valid; a new one is made after two thirds of it. Default 30 days, at least 1 minute. */
  readonly certificateLifetimeMs?: number | undefined;
}

/** Who works together in it. */
export interface HerdIdentityDeps {
  /** Default: that of the process. */
  readonly clock?: Clock | undefined;
  /** Default: silence. */
  readonly logger?: Logger | undefined;
}

/** An agent's TLS certificate with its key, in PEM. */
export interface AgentCertificate {
  readonly cert: string;
  readonly key: string;
  /** SHA-256 of the certificate in DER, lower-case hexadecimal. */
  readonly sha256: string;
  /** By the wall clock. */
  readonly notAfterMs: number;
}

const dayMs = 86_400_000;
const defaultLifetimeMs = 30 * dayMs;
/** An authority is as old as the agent's state folder, and ends with it. */
const authorityLifetimeMs = 30 * 365 * dayMs;
/** Clocks of a LAN's machines differ. */
const skewMs = dayMs;
const renewAfter = 2 / 3;
const retryMs = 3_600_000;
const timerMsMax = 2 ** 31 - 1;
/** Connections may be older than the certificate that is shown now. */
const formerMax = 4;

interface Keys {
  /** Ed25519, PKCS #8. */
  readonly replyKey: KeyObject;
  readonly authority: KeyWithCertificate;
}

/**
 * An agent's keys in the herd, kept in files of its own (0600): what signs its discovery replies, the authority of its clients'
 * certificates, and its TLS certificate, which that authority has signed and which is renewed in time. Who has these files is
 * the agent to its clients.
 */
export class HerdIdentity implements Disposable {
  readonly agentId: string;
  readonly name: string;
  /** Ed25519, 32 bytes: what clients check discovery replies with. */
  readonly publicKey: Uint8Array;
  readonly #keys: Keys;
  readonly #path: string;
  readonly #lifetimeMs: number;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #listeners = new Set<(certificate: AgentCertificate) => void>();
  #certificate: AgentCertificate;
  #former: readonly string[] = [];
  #timer: ScheduledCall | undefined;
  #ended = false;

  private constructor(options: HerdIdentityOptions, deps: HerdIdentityDeps, keys: Keys, certificate: AgentCertificate) {
    this.agentId = options.agentId;
    this.name = options.name ?? options.agentId;
    this.#keys = keys;
    this.publicKey = rawPublicKey(keys.replyKey);
    this.#path = join(options.dir, 'certificate.json');
    this.#lifetimeMs = lifetimeOf(options);
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
    this.#certificate = certificate;
    this.#plan();
  }

  /** Takes up what the folder holds, or draws keys. Throws `HERD_FILE_EXPOSED`, `HERD_FILE_INVALID`. */
  static async open(options: HerdIdentityOptions, deps: HerdIdentityDeps = {}): Promise<HerdIdentity> {
    const clock = deps.clock ?? systemClock;
    openPrivateFolder(options.dir);
    const keys = await keepKeys(join(options.dir, 'identity.json'), options.agentId, clock);
    const path = join(options.dir, 'certificate.json');
    const kept = readCertificate(path, options.agentId, keys.authority.certificate);
    const isFresh = kept !== undefined && leftOf(kept, clock) > lifetimeOf(options) * (1 - renewAfter);
    const certificate = isFresh ? kept : await makeCertificate(path, options, keys.authority, clock);
    return new HerdIdentity(options, deps, keys, certificate);
  }

  /** The TLS certificate that is shown now. */
  get certificate(): AgentCertificate {
    return this.#certificate;
  }

  /** SHA-256 of {@link certificate} in DER, lower-case hexadecimal. */
  get certificateSha256(): string {
    return this.#certificate.sha256;
  }

  /** SHA-256 of the certificates that open connections may have been shown, newest first. */
  get shownSha256s(): readonly string[] {
    return [this.#certificate.sha256, ...this.#former];
  }

  /** The authority's certificate in DER. */
  get authority(): Uint8Array {
    return this.#keys.authority.certificate;
  }

  /** The authority's certificate in PEM, as TLS wants it. */
  get authorityPem(): string {
    return pemOf('CERTIFICATE', this.#keys.authority.certificate);
  }

  /** Signs bytes with the key of discovery replies (Ed25519, RFC 8032). */
  sign(bytes: Uint8Array): Uint8Array {
    return sign(null, bytes, this.#keys.replyKey);
  }

  /** A certificate for a client's key, in DER. */
  async certify(
    client: { readonly commonName: string; readonly name: string; readonly key: KeyObject },
    lifetimeMs: number,
  ): Promise<{ readonly certificate: Uint8Array; readonly notAfterMs: number }> {
    const { createClientCertificate } = await import('./certificates.ts');
    const nowMs = this.#clock.wallMs();
    // X.509 counts seconds.
    const notAfterMs = Math.floor((nowMs + lifetimeMs) / 1_000) * 1_000;
    const validity = { notBeforeMs: nowMs - skewMs, notAfterMs };
    return { certificate: await createClientCertificate(this.#keys.authority, client, validity), notAfterMs };
  }

  /** Calls `listener` when there is a new TLS certificate. Answers how to stop. */
  onCertificate(listener: (certificate: AgentCertificate) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Makes a new TLS certificate now; that of before stays good for who has it. */
  async renewCertificate(): Promise<void> {
    const before = this.#certificate.sha256;
    const options = { agentId: this.agentId, certificateLifetimeMs: this.#lifetimeMs };
    this.#certificate = await makeCertificate(this.#path, options, this.#keys.authority, this.#clock);
    this.#former = [before, ...this.#former].slice(0, formerMax);
    this.#logger.info({ sha256: this.#certificate.sha256 }, 'the herd has a new certificate');
    for (const listener of [...this.#listeners]) listener(this.#certificate);
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    this.#timer?.cancel();
  }

  #plan(): void {
    const inMs = leftOf(this.#certificate, this.#clock) - this.#lifetimeMs * (1 - renewAfter);
    this.#schedule(Math.max(1_000, inMs));
  }

  #schedule(inMs: number): void {
    if (this.#ended) return;
    this.#timer?.cancel();
    this.#timer = this.#clock.schedule(Math.min(inMs, timerMsMax), () => void this.#renewInTime());
  }

  async #renewInTime(): Promise<void> {
    try {
      if (leftOf(this.#certificate, this.#clock) <= this.#lifetimeMs * (1 - renewAfter)) await this.renewCertificate();
      this.#plan();
    } catch (error) {
      this.#logger.error({ err: error }, 'the certificate of the herd cannot be renewed; it is tried again');
      this.#schedule(Math.min(retryMs, this.#lifetimeMs / 10));
    }
  }
}

function pemOf(label: string, der: Uint8Array): string {
  const body = Buffer.from(der)
    .toString('base64')
    .replace(/.{64}/g, (line) => `${line}\n`)
    .trimEnd();
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
}

function lifetimeOf({ certificateLifetimeMs = defaultLifetimeMs }: Pick<HerdIdentityOptions, 'certificateLifetimeMs'>) {
  return Math.max(60_000, certificateLifetimeMs);
}

function leftOf(certificate: AgentCertificate, clock: Clock): number {
  return certificate.notAfterMs - clock.wallMs();
}

async function keepKeys(path: string, agentId: string, clock: Clock): Promise<Keys> {
  const kept = readPrivately(path, keysFrom);
  if (kept !== undefined) return kept;
  const { createAuthority } = await import('./certificates.ts');
  const nowMs = clock.wallMs();
  const authority = await createAuthority(agentId, {
    notBeforeMs: nowMs - skewMs,
    notAfterMs: nowMs + authorityLifetimeMs,
  });
  const { privateKey: replyKey } = generateKeyPairSync('ed25519');
  writePrivately(path, {
    replyKey: replyKey.export({ type: 'pkcs8', format: 'der' }).toString('base64'),
    authorityKey: authority.key.toString('base64'),
    authority: authority.certificate.toString('base64'),
  });
  return { replyKey, authority };
}

function keysFrom(value: unknown): Keys | undefined {
  const { replyKey, authorityKey, authority } = value as Record<string, unknown>;
  if (typeof replyKey !== 'string' || typeof authorityKey !== 'string' || typeof authority !== 'string')
    return undefined;
  const key = Buffer.from(authorityKey, 'base64');
  const certificate = Buffer.from(authority, 'base64');
  const parsed = new X509Certificate(certificate);
  if (!parsed.checkPrivateKey(createPrivateKey({ key, type: 'pkcs8', format: 'der' }))) return undefined;
  const reply = createPrivateKey({ key: Buffer.from(replyKey, 'base64'), type: 'pkcs8', format: 'der' });
  if (reply.asymmetricKeyType !== 'ed25519') return undefined;
  return { replyKey: reply, authority: { key, certificate } };
}

async function makeCertificate(
  path: string,
  options: Pick<HerdIdentityOptions, 'agentId' | 'certificateLifetimeMs'>,
  authority: KeyWithCertificate,
  clock: Clock,
): Promise<AgentCertificate> {
  const { createAgentCertificate } = await import('./certificates.ts');
  const nowMs = clock.wallMs();
  const validity = { notBeforeMs: nowMs - skewMs, notAfterMs: nowMs + lifetimeOf(options) };
  const { key, certificate } = await createAgentCertificate(authority, options.agentId, validity);
  writePrivately(path, { key: key.toString('base64'), certificate: certificate.toString('base64') });
  return agentCertificate(key, certificate);
}

/** The one that is kept, if it is this agent's and its authority's. */
function readCertificate(path: string, agentId: string, authority: Uint8Array): AgentCertificate | undefined {
  const kept = readPrivately(path, (value) => {
    const { key, certificate } = value as Record<string, unknown>;
    if (typeof key !== 'string' || typeof certificate !== 'string') return undefined;
    const parsed = new X509Certificate(Buffer.from(certificate, 'base64'));
    return { key: Buffer.from(key, 'base64'), parsed };
  });
  if (kept === undefined) return undefined;
  const { key, parsed } = kept;
  const isOurs =
    parsed.subjectAltName === `URI:urn:drover:agent:${agentId}` &&
    parsed.verify(new X509Certificate(authority).publicKey) &&
    parsed.checkPrivateKey(createPrivateKey({ key, type: 'pkcs8', format: 'der' }));
  return isOurs ? agentCertificate(key, parsed.raw) : undefined;
}

function agentCertificate(key: Uint8Array, certificate: Uint8Array): AgentCertificate {
  return {
    cert: pemOf('CERTIFICATE', certificate),
    key: pemOf('PRIVATE KEY', key),
    sha256: sha256(certificate).toString('hex'),
    notAfterMs: new X509Certificate(certificate).validToDate.getTime(),
  };
}

function rawPublicKey(key: KeyObject): Uint8Array {
  const { x = '' } = createPublicKey(key).export({ format: 'jwk' });
  return Buffer.from(x, 'base64url');
}
