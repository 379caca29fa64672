import { randomBytes } from 'node:crypto';
import { agentKeyFromJwk, newAgentKeyJwk } from '@drover/enrolment-protocol';
import type { Clock, Principal } from '@drover/lease-kit';
import type { CredentialKeyRecord, EnrolmentStore } from '@drover/lease-store';
import { importJWK, type JWTHeaderParameters } from 'jose';
import { openSealed, sealText } from './key-seal.ts';

/** What {@link CredentialKeys} works with. */
export interface CredentialKeysDeps {
  readonly store: Pick<EnrolmentStore, 'credentialKeys' | 'addCredentialKey'>;
  readonly clock: Clock;
  readonly principal: Principal;
  /** Seals the private halves in the store; absent: they are open there. */
  readonly sealSecret: string | undefined;
  /** How long one key signs. */
  readonly rotateMs: number;
  /** How long what it has signed is valid. */
  readonly credentialMs: number;
}

type SigningKey = Awaited<ReturnType<typeof agentKeyFromJwk>>['privateKey'];

interface LoadedKeys {
  readonly signer: { readonly keyId: string; readonly key: SigningKey };
  readonly verifiers: ReadonlyMap<string, SigningKey>;
  readonly freshUntilMs: number;
}

/** Time between two looks for a key that is not known: a forged credential must not cost a query each. */
const lookSpacingMs = 5_000;
const lookAgainMs = 600_000;

/**
 * The keys that the servers of a fleet share through the store. The newest signs; each verifies until the last credential
 * that it can have signed has expired.
 */
export class CredentialKeys {
  readonly #deps: CredentialKeysDeps;
  #loading: Promise<LoadedKeys> | undefined;
  #loaded: LoadedKeys | undefined;
  #lookedAtMs = -Infinity;

  constructor(deps: CredentialKeysDeps) {
    this.#deps = deps;
  }

  /** The key that signs now. Throws `CREDENTIAL_KEY_SEALED`, and what the store throws. */
  async signer(): Promise<LoadedKeys['signer']> {
    return (await this.#keys(false)).signer;
  }

  /** The key of a credential; undefined for one that no server of this fleet has. */
  async verifier({ kid = '' }: JWTHeaderParameters): Promise<SigningKey | undefined> {
    const known = (await this.#keys(false)).verifiers.get(kid);
    if (known !== undefined) return known;
    // Another server may have made one since.
    if (this.#deps.clock.monotonicMs() - this.#lookedAtMs < lookSpacingMs) return undefined;
    return (await this.#keys(true)).verifiers.get(kid);
  }

  async #keys(again: boolean): Promise<LoadedKeys> {
    const loaded = this.#loaded;
    if (loaded !== undefined && !again && loaded.freshUntilMs > this.#deps.clock.monotonicMs()) return loaded;
    this.#loading ??= this.#load().finally(() => (this.#loading = undefined));
    return this.#loading;
  }

  async #load(): Promise<LoadedKeys> {
    const { store, clock, principal, rotateMs, credentialMs, sealSecret } = this.#deps;
    this.#lookedAtMs = clock.monotonicMs();
    let records = await store.credentialKeys({ principal });
    const newest = records[0];
    if (newest === undefined || clock.wallMs() - newest.createdAtMs > rotateMs) {
      const jwk = await newAgentKeyJwk();
      const { publicJwk } = await agentKeyFromJwk(jwk);
      const key = {
        keyId: randomBytes(9).toString('base64url'),
        publicKey: JSON.stringify(publicJwk),
        sealedPrivateKey: sealText(JSON.stringify(jwk), sealSecret),
        validMs: 2 * (rotateMs + credentialMs),
      };
      records = await store.addCredentialKey(key, rotateMs, { principal });
    }
    const verifiers = new Map<string, SigningKey>();
    for (const { keyId, publicKey } of records) {
      const key = await importJWK(JSON.parse(publicKey) as object, 'EdDSA');
      if (!(key instanceof Uint8Array)) verifiers.set(keyId, key);
    }
    const signer = await this.#open(records[0]!);
    this.#loaded = { signer, verifiers, freshUntilMs: clock.monotonicMs() + Math.min(lookAgainMs, rotateMs) };
    return this.#loaded;
  }

  async #open({ keyId, sealedPrivateKey }: CredentialKeyRecord): Promise<LoadedKeys['signer']> {
    const jwk = JSON.parse(openSealed(sealedPrivateKey, this.#deps.sealSecret)) as Record<string, unknown>;
    return { keyId, key: (await agentKeyFromJwk(jwk)).privateKey };
  }
}
