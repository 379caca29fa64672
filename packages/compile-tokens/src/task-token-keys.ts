import type { KeyObject } from 'node:crypto';
import { publicKeyFromBytes } from './task-token-key.ts';

/** Keys that are remembered at most. */
const keysMax = 32;

/** The keys that the scheduler signs task tokens with, as it told them last. */
export class TaskTokenKeys {
  #keys: ReadonlyMap<string, KeyObject> = new Map();

  /** How many there are: none before the scheduler was reached. */
  get size(): number {
    return this.#keys.size;
  }

  /**
   * Takes the place of all keys of before. An empty list is kept out: a scheduler that has lost its keys must not stop what
   * runs. Throws `SIGNING_KEY_INVALID`, and then nothing has changed.
   */
  replace(keys: readonly { readonly keyId: string; readonly publicKey: Uint8Array }[]): void {
    if (keys.length === 0) return;
    const known = keys.slice(0, keysMax);
    this.#keys = new Map(known.map(({ keyId, publicKey }) => [keyId, publicKeyFromBytes(publicKey)]));
  }

  /** The key of an id; undefined if the scheduler told none. */
  get(keyId: string): KeyObject | undefined {
    return this.#keys.get(keyId);
  }
}
