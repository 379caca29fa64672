import type { Clock } from '@drover/lease-kit';

/** Bounds of a {@link SourceRate}. */
export interface SourceRateOptions {
  /** Answers that a source may have at once. */
  readonly burst: number;
  /** Answers that it may have in the long run, per second. */
  readonly perSecond: number;
  /** The most sources that are told apart; a further one takes the place of the one that was silent longest. */
  readonly sourcesMax: number;
}

/** Counts what each source may have, as buckets that fill again. */
export class SourceRate {
  readonly #options: SourceRateOptions;
  readonly #clock: Clock;
  /** In order of last use. */
  readonly #buckets = new Map<string, { left: number; atMs: number }>();

  constructor(options: SourceRateOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  /** True if this source may have one more now; then it is counted. */
  take(source: string): boolean {
    const { burst, perSecond, sourcesMax } = this.#options;
    const now = this.#clock.monotonicMs();
    const known = this.#buckets.get(source);
    const left = known === undefined ? burst : Math.min(burst, known.left + ((now - known.atMs) / 1000) * perSecond);
    this.#buckets.delete(source);
    if (this.#buckets.size >= sourcesMax) this.#buckets.delete(this.#buckets.keys().next().value!);
    this.#buckets.set(source, { left: left >= 1 ? left - 1 : left, atMs: now });
    return left >= 1;
  }
}
