import { createPublicKey, type KeyObject } from 'node:crypto';
import { existsSync, readdirSync, rmSync, watch } from 'node:fs';
import { join } from 'node:path';
import { DroverError, systemClock, type Clock } from '@drover/lease-kit';
import { drawCharacters } from '../proof/pairing-code.ts';
import { filesOf, openPrivateFolder, readPrivately, writePrivately } from '../private-files.ts';
import type { HerdIdentity } from './herd-identity.ts';

/** A client that was let in. */
export interface HerdClient {
  readonly clientId: string;
  /** As it called itself. */
  readonly name: string;
  /** Its public key: SubjectPublicKeyInfo in DER, base64. */
  readonly key: string;
  /** How it was let in: `code`, or `token:` and the token's id. */
  readonly by: string;
  /** Where it was let in from. */
  readonly address: string;
  /** By the wall clock, as all times here. */
  readonly pairedAtMs: number;
  /** When its newest certificate was made, and until when that is valid. */
  readonly certifiedAtMs: number;
  readonly notAfterMs: number;
}

/** A client as lists show it. */
export interface ListedHerdClient extends HerdClient {
  readonly state: 'paired' | 'expired' | 'revoked';
}

/** A certificate that lets a client in. */
export interface IssuedCertificate {
  readonly certificate: Uint8Array;
  readonly notAfterMs: number;
}

/** Who works together in it. */
export interface HerdClientsDeps {
  /** Default: that of the process. */
  readonly clock?: Clock | undefined;
}

/** Most clients of one agent, those that are not remembered any more aside. */
const clientsMax = 1_024;
/** How long a client is remembered after its last certificate has ended, for the list. */
const rememberedMs = 30 * 86_400_000;
const pollMs = 2_000;
const clientIdLength = 10;
const clientIdPattern = /^[0-9a-z]{10}$/;

/** The common name of a client's certificate, and the id of its principal. */
export const herdClientPrefix = 'herd:';

/**
 * The clients of an agent, a file each in its state folder, so that `drover herd clients` and `revoke` need nothing of the
 * agent's process. Only the agent writes a client's file; who revokes puts a mark beside it, which is looked at for every call.
 */
export class HerdClients {
  readonly #clientsPath: string;
  readonly #revokedPath: string;
  readonly #clock: Clock;
  /** What the agent, which alone writes them, has read or written. */
  readonly #known = new Map<string, HerdClient>();

  constructor(dir: string, deps: HerdClientsDeps = {}) {
    this.#clientsPath = join(dir, 'clients');
    this.#revokedPath = join(dir, 'revoked');
    this.#clock = deps.clock ?? systemClock;
    openPrivateFolder(dir);
    openPrivateFolder(this.#clientsPath);
    openPrivateFolder(this.#revokedPath);
  }

  /** Every client that is remembered, the newest first. */
  list(): ListedHerdClient[] {
    return filesOf(this.#clientsPath)
      .map((clientId) => this.#read(clientId))
      .filter((client) => client !== undefined)
      .map((client) => ({ ...client, state: this.#stateOf(client) }))
      .sort((a, b) => b.pairedAtMs - a.pairedAtMs);
  }

  /**
   * Lets a client in. A key that has been let in before stays the same client, unless that one is revoked. Throws
   * `HERD_CLIENTS_TOO_MANY`.
   */
  async admit(
    client: { readonly name: string; readonly key: KeyObject; readonly by: string; readonly address: string },
    identity: HerdIdentity,
    lifetimeMs: number,
  ): Promise<IssuedCertificate & { readonly clientId: string }> {
    const key = client.key.export({ type: 'spki', format: 'der' }).toString('base64');
    const known = this.#forget().find((one) => one.key === key && one.state !== 'revoked');
    const clientId = known?.clientId ?? this.#draw();
    const issued = await this.#certify(clientId, client, identity, lifetimeMs);
    const nowMs = this.#clock.wallMs();
    const { name, by, address } = client;
    const { notAfterMs } = issued;
    this.#write({ clientId, name, key, by, address, pairedAtMs: nowMs, certifiedAtMs: nowMs, notAfterMs });
    return { ...issued, clientId };
  }

  /** A new certificate for a client that shows one. Throws as {@link check}. */
  async renew(clientId: string, identity: HerdIdentity, lifetimeMs: number): Promise<IssuedCertificate> {
    const client = this.check(clientId);
    const key = createPublicKey({ key: Buffer.from(client.key, 'base64'), type: 'spki', format: 'der' });
    const issued = await this.#certify(clientId, { name: client.name, key }, identity, lifetimeMs);
    this.#write({ ...client, certifiedAtMs: this.#clock.wallMs(), notAfterMs: issued.notAfterMs });
    return issued;
  }

  /** The client of a certificate that TLS has checked. Throws `CLIENT_REVOKED`, `CLIENT_UNKNOWN`, `CERTIFICATE_EXPIRED`. */
  check(clientId: string): HerdClient {
    if (this.isRevoked(clientId)) throw clientRevoked(clientId);
    const client = this.#known.get(clientId) ?? this.#read(clientId);
    if (client === undefined) throw clientUnknown(clientId);
    this.#known.set(clientId, client);
    // Its connection may be older than its certificates.
    if (client.notAfterMs <= this.#clock.wallMs()) throw certificateExpired(client);
    return client;
  }

  /** Nothing more is done for the client; its open connections end within two seconds, where the agent runs. */
  revoke(clientId: string): HerdClient {
    const client = this.#read(clientId);
    if (client === undefined) throw clientUnknown(clientId);
    writePrivately(this.#markOf(clientId), { revokedAtMs: this.#clock.wallMs() });
    return client;
  }

  isRevoked(clientId: string): boolean {
    return clientIdPattern.test(clientId) && existsSync(this.#markOf(clientId));
  }

  /** Calls `listener` for each client that is revoked from now on, also by another process. Dispose of it to stop. */
  watchRevoked(listener: (clientId: string) => void): Disposable {
    const told = new Set(filesOf(this.#revokedPath));
    let ended = false;
    const look = (): void => {
      if (ended) return;
      const now = filesOf(this.#revokedPath);
      for (const clientId of now) if (!told.has(clientId)) listener(clientId);
      told.clear();
      for (const clientId of now) told.add(clientId);
    };
    // What the platform tells is a hint; the poll is the floor.
    const watcher = watch(this.#revokedPath, look);
    watcher.on('error', () => undefined);
    const poll = (): void => {
      look();
      if (!ended) timer = this.#clock.schedule(pollMs, poll);
    };
    let timer = this.#clock.schedule(pollMs, poll);
    return {
      [Symbol.dispose]() {
        ended = true;
        watcher.close();
        timer.cancel();
      },
    };
  }

  async #certify(
    clientId: string,
    client: { readonly name: string; readonly key: KeyObject },
    identity: HerdIdentity,
    lifetimeMs: number,
  ): Promise<IssuedCertificate> {
    return identity.certify({ ...client, commonName: `${herdClientPrefix}${clientId}` }, lifetimeMs);
  }

  #read(clientId: string): HerdClient | undefined {
    if (!clientIdPattern.test(clientId)) return undefined;
    return readPrivately(join(this.#clientsPath, `${clientId}.json`), (value) => clientFrom(clientId, value));
  }

  #write(client: HerdClient): void {
    this.#known.set(client.clientId, client);
    writePrivately(join(this.#clientsPath, `${client.clientId}.json`), client);
  }

  #markOf(clientId: string): string {
    return join(this.#revokedPath, `${clientId}.json`);
  }

  #stateOf(client: HerdClient): ListedHerdClient['state'] {
    if (this.isRevoked(client.clientId)) return 'revoked';
    return client.notAfterMs <= this.#clock.wallMs() ? 'expired' : 'paired';
  }

  /** Drops those whose time is long over; answers the others. */
  #forget(): ListedHerdClient[] {
    const forgottenMs = this.#clock.wallMs() - rememberedMs;
    const all = this.list();
    const kept = all.filter(({ notAfterMs }) => notAfterMs > forgottenMs);
    for (const { clientId, notAfterMs } of all) {
      if (notAfterMs > forgottenMs) continue;
      // The mark last: a client without one, and with a file, would be let in.
      this.#known.delete(clientId);
      rmSync(join(this.#clientsPath, `${clientId}.json`), { force: true });
      rmSync(this.#markOf(clientId), { force: true });
    }
    if (kept.length < clientsMax) return kept;
    throw new DroverError({
      code: 'HERD_CLIENTS_TOO_MANY',
      advice: 'exhausted',
      message: `This agent has let ${kept.length} clients in, which is the most; they are forgotten 30 days after their certificates end.`,
    });
  }

  #draw(): string {
    const taken = new Set(readdirSync(this.#clientsPath));
    for (;;) {
      const clientId = drawCharacters(clientIdLength).toLowerCase();
      if (!taken.has(`${clientId}.json`)) return clientId;
    }
  }
}

function clientFrom(clientId: string, value: unknown): HerdClient | undefined {
  const { name, key, by, address, pairedAtMs, certifiedAtMs, notAfterMs } = value as Partial<HerdClient>;
  const isWhole =
    [name, key, by, address].every((text) => typeof text === 'string') &&
    [pairedAtMs, certifiedAtMs, notAfterMs].every(Number.isFinite);
  return isWhole ? { ...(value as HerdClient), clientId } : undefined;
}

function clientRevoked(clientId: string): DroverError {
  return new DroverError({
    code: 'CLIENT_REVOKED',
    advice: 'denied',
    message: `This agent has revoked client ${clientId}: it has to be let in anew, with a code of "drover herd code".`,
  });
}

function clientUnknown(clientId: string): DroverError {
  return new DroverError({
    code: 'CLIENT_UNKNOWN',
    advice: 'denied',
    message: `This agent knows no client ${JSON.stringify(clientId.slice(0, 64))}; "drover herd clients" on its machine lists those that it knows.`,
  });
}

function certificateExpired({ clientId, notAfterMs }: HerdClient): DroverError {
  return new DroverError({
    code: 'CERTIFICATE_EXPIRED',
    advice: 'denied',
    message: `The certificate of client ${clientId} ended at ${new Date(notAfterMs).toISOString()}: it has to be let in anew, with a code of "drover herd code".`,
  });
}
