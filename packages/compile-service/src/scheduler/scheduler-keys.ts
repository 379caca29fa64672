import { newTaskTokenKey, privateKeyOf, TaskTokenKeys } from '@drover/compile-tokens';
import { openSealed, sealText } from '@drover/enrolment';
import { DroverError, type Clock, type Principal } from '@drover/lease-kit';
import type { CompileKeyRecord, CompileStore } from '@drover/lease-store';
import type { KeyObject } from 'node:crypto';

/** What {@link SchedulerKeys} works with. */
export interface SchedulerKeysDeps {
  readonly store: Pick<CompileStore, 'keys' | 'addKey'>;
  readonly clock: Clock;
  readonly principal: Principal;
  /** Seals the private halves in the store; absent: they are open there. */
  readonly sealSecret: string | undefined;
  /** How long one key signs. */
  readonly rotateMs: number;
  /** How long what it has signed is valid, at most. */
  readonly validMs: number;
}

/** A public half, as workers are told of it. */
export interface ToldKey {
  readonly keyId: string;
  readonly publicKey: Uint8Array<ArrayBuffer>;
}

interface LoadedKeys {
  readonly signer: { readonly keyId: string; readonly key: KeyObject };
  readonly told: readonly ToldKey[];
  readonly verifiers: TaskTokenKeys;
  readonly freshUntilMs: number;
}

/** Workers hear of a key by six heartbeats before it signs; one that missed them all is not chosen until it was heard. */
const tellMs = 60_000;
const freshMs = 10_000;
/** Time between two looks for a key that is not known: a forged token must not cost a query each. */
const lookSpacingMs = 1_000;

/**
 * The keys of task tokens and workers' sessions, which the servers share through the store:
 *
 *     next ──60 s──▶ current ──another is current──▶ retired ──all that it has signed has expired──▶ gone
 *
 * Workers are told of all of them, so that none is used before it is known.
 */
export class SchedulerKeys {
  readonly #deps: SchedulerKeysDeps;
  #loading: Promise<LoadedKeys> | undefined;
  #loaded: LoadedKeys | undefined;
  #lookedAtMs = -Infinity;

  constructor(deps: SchedulerKeysDeps) {
    this.#deps = deps;
  }

  /** The key that signs now. Throws `CREDENTIAL_KEY_SEALED`, and what the store throws. */
  async signer(): Promise<LoadedKeys['signer']> {
    return (await this.#keys(false)).signer;
  }

  /** Next, current and retired ones. Throws like {@link signer}. */
  async told(): Promise<readonly ToldKey[]> {
    return (await this.#keys(false)).told;
  }

  /** The public half of a key; undefined for one that no server of this fleet has. Throws like {@link signer}. */
  async verifier(keyId: string): Promise<KeyObject | undefined> {
    const known = (await this.#keys(false)).verifiers.get(keyId);
    // Another server may have made one since.
    if (known !== undefined || this.#deps.clock.monotonicMs() - this.#lookedAtMs < lookSpacingMs) return known;
    return (await this.#keys(true)).verifiers.get(keyId);
  }

  async #keys(again: boolean): Promise<LoadedKeys> {
    const loaded = this.#loaded;
    if (loaded !== undefined && !again && loaded.freshUntilMs > this.#deps.clock.monotonicMs()) return loaded;
    this.#loading ??= this.#load().finally(() => (this.#loading = undefined));
    return this.#loading;
  }

  async #load(): Promise<LoadedKeys> {
    const { store, clock, principal, rotateMs, validMs } = this.#deps;
    this.#lookedAtMs = clock.monotonicMs();
    let records = await store.keys({ principal });
    if (records[0] === undefined || records[0].ageMs >= rotateMs) {
      const { keyId, publicKey, privateJwk } = newTaskTokenKey();
      const key = {
        keyId,
        publicKey: Buffer.from(publicKey).toString('base64url'),
        sealedPrivateKey: sealText(privateJwk, this.#deps.sealSecret),
        signsAfterMs: tellMs,
        // It signs until the next one does, which another server may make late.
        validMs: 2 * (rotateMs + tellMs) + validMs,
      };
      records = await store.addKey(key, rotateMs, { principal });
    }
    const told = records.map(({ keyId, publicKey }) => ({
      keyId,
      publicKey: new Uint8Array(Buffer.from(publicKey, 'base64url')),
    }));
    const verifiers = new TaskTokenKeys();
    verifiers.replace(told);
    const signing = records.find(({ signsInMs }) => signsInMs <= 0) ?? records.at(-1);
    const freshForMs = Math.min(freshMs, rotateMs);
    this.#loaded = {
      signer: this.#open(signing),
      told,
      verifiers,
      freshUntilMs: clock.monotonicMs() + freshForMs,
    };
    return this.#loaded;
  }

  #open(record: CompileKeyRecord | undefined): LoadedKeys['signer'] {
    if (record === undefined) {
      throw new DroverError({
        code: 'SIGNING_KEYS_MISSING',
        advice: 'unavailable',
        message: 'The keys of task tokens have expired while they were read; try again.',
        retryAfterMs: 1_000,
      });
    }
    const { keyId, sealedPrivateKey } = record;
    return { keyId, key: privateKeyOf(openSealed(sealedPrivateKey, this.#deps.sealSecret)) };
  }
}
