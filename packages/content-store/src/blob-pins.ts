import type { CallOptions } from './content-store.ts';
import type { Digest } from './digest.ts';

/** For whom blobs are pinned, and how long at most. */
export interface PinOptions extends CallOptions {
  /** Who needs them, 1 to 512 characters, e.g. `lease:<id>`. Pins of different owners do not touch each other. */
  readonly owner: string;
  /**
   * When the owner's pins end by themselves, counted from now, so that a lost owner frees its blobs. It replaces the
   * owner's earlier expiry, for all its pins. Default 24 hours.
   */
  readonly expiresAfterMs?: number;
}

/** How long pins last when `expiresAfterMs` is absent: 24 hours. */
export const pinExpiryDefaultMs = 24 * 60 * 60 * 1000;

/**
 * Keeps blobs from being removed while a live lease needs them. A blob stays as long as any owner pins it. Pins survive a
 * restart of a store whose blobs do.
 *
 * Compliance: `blobPinsCases` of `@drover/content-store/testing`.
 */
export interface BlobPins {
  /**
   * Adds to what an owner has pinned, and returns those of `digests` that are not there and so could not be pinned; the
   * others are pinned. Throws `PIN_LIMIT`, `DIGEST_INVALID`.
   */
  pin(digests: readonly Digest[], options: PinOptions): Promise<Digest[]>;

  /** Ends all pins of an owner; harmless if it has none. */
  unpin(owner: string, options?: CallOptions): Promise<void>;
}
