import { proofWindowMs, type VerifiedProof } from '@drover/enrolment-protocol';
import { DroverError, type Clock } from '@drover/lease-kit';

/** Bounds of a {@link ReplayGuard}. */
export interface ReplayGuardLimits {
  /** Processes whose proofs are remembered, of all keys. Default 65,536. */
  readonly noncesMax: number;
  /** Processes of one key. Default 16. */
  readonly noncesPerKeyMax: number;
  /** Calls of one process that may overtake each other. Default 2,048. */
  readonly spread: number;
}

const defaultLimits: ReplayGuardLimits = { noncesMax: 65_536, noncesPerKeyMax: 16, spread: 2_048 };
/** A proof may be so far ahead of the clock, and lives so long after: beyond, its time refuses it. */
const rememberedMs = 2 * proofWindowMs + 5_000;

interface Seen {
  readonly thumbprint: string;
  /** All up to this one count as seen. */
  floor: number;
  readonly above: Set<number>;
  lastMs: number;
}

/**
 * Takes each proof once. Counts of a process grow, so that a window over them is enough, as in the anti-replay service of
 * IPsec (RFC 4303, 3.4.3): memory grows with the processes that called lately, not with their calls.
 */
export class ReplayGuard {
  readonly #clock: Clock;
  readonly #limits: ReplayGuardLimits;
  /** By key and nonce; the one that was used last stands last. */
  readonly #seen = new Map<string, Seen>();
  readonly #perKey = new Map<string, number>();

  constructor(clock: Clock, limits: Partial<ReplayGuardLimits> = {}) {
    this.#clock = clock;
    this.#limits = { ...defaultLimits, ...limits };
  }

  /** Throws `PROOF_REPLAYED`, and `PROOFS_TOO_MANY` (`exhausted`) where a proof could not be remembered. */
  take({ thumbprint, nonce, sequence }: VerifiedProof): void {
    const nowMs = this.#clock.monotonicMs();
    this.#forget(nowMs);
    const name = `${thumbprint} ${nonce}`;
    const seen = this.#seen.get(name) ?? this.#remember(thumbprint);
    if (sequence <= seen.floor || seen.above.has(sequence)) throw replayed();
    seen.above.add(sequence);
    while (seen.above.size > this.#limits.spread) {
      const lowest = Math.min(...seen.above);
      seen.above.delete(lowest);
      seen.floor = lowest;
    }
    while (seen.above.delete(seen.floor + 1)) seen.floor += 1;
    seen.lastMs = nowMs;
    this.#seen.delete(name);
    this.#seen.set(name, seen);
  }

  #remember(thumbprint: string): Seen {
    const ofKey = this.#perKey.get(thumbprint) ?? 0;
    const { noncesMax, noncesPerKeyMax } = this.#limits;
    if (ofKey >= noncesPerKeyMax || this.#seen.size >= noncesMax) {
      throw new DroverError({
        code: 'PROOFS_TOO_MANY',
        advice: 'exhausted',
        message:
          ofKey >= noncesPerKeyMax
            ? `${ofKey} processes have used this key within ${rememberedMs / 1_000} s, which is the most allowed.`
            : `Proofs of ${noncesMax} processes are remembered, which is the most allowed.`,
        retryAfterMs: 10_000,
      });
    }
    this.#perKey.set(thumbprint, ofKey + 1);
    return { thumbprint, floor: 0, above: new Set(), lastMs: 0 };
  }

  #forget(nowMs: number): void {
    for (const [name, { lastMs, thumbprint }] of this.#seen) {
      if (lastMs + rememberedMs > nowMs) return;
      this.#seen.delete(name);
      const left = (this.#perKey.get(thumbprint) ?? 1) - 1;
      if (left > 0) this.#perKey.set(thumbprint, left);
      else this.#perKey.delete(thumbprint);
    }
  }
}

function replayed(): DroverError {
  return new DroverError({
    code: 'PROOF_REPLAYED',
    advice: 'denied',
    message: 'The proof of possession has been used before; each call needs a new one.',
  });
}
