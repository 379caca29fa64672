/** How often one source, and all together, may have something. */
export interface SourceLimits {
  /** Replies a second to one source, in the long run. Default 10. */
  readonly perSourcePerSecond?: number | undefined;
  /** Replies that one source may have at once. Default 40. */
  readonly perSourceBurst?: number | undefined;
  /** Replies a second to all sources. Default 400. */
  readonly overallPerSecond?: number | undefined;
  /** Default 800. */
  readonly overallBurst?: number | undefined;
  /** Sources that are remembered; the one that asked longest ago is forgotten first. Default 1,024. */
  readonly sourcesMax?: number | undefined;
}

interface Bucket {
  tokens: number;
  atMs: number;
}

/** Token buckets by source, in a bounded table, below one for all. */
export class SourceLimiter {
  readonly #perSource: { readonly rate: number; readonly burst: number };
  readonly #overall: { readonly rate: number; readonly burst: number };
  readonly #sourcesMax: number;
  /** In the order of their last use. */
  readonly #buckets = new Map<string, Bucket>();
  #all: Bucket | undefined;

  constructor(limits: SourceLimits = {}) {
    this.#perSource = { rate: limits.perSourcePerSecond ?? 10, burst: limits.perSourceBurst ?? 40 };
    this.#overall = { rate: limits.overallPerSecond ?? 400, burst: limits.overallBurst ?? 800 };
    this.#sourcesMax = limits.sourcesMax ?? 1_024;
  }

  /** True if `source` may have one more now. */
  take(source: string, nowMs: number): boolean {
    const bucket = refilled(this.#buckets.get(source), this.#perSource, nowMs);
    // Put at the end, so that the first is the one that was used longest ago.
    this.#buckets.delete(source);
    this.#buckets.set(source, bucket);
    if (this.#buckets.size > this.#sourcesMax) this.#buckets.delete(this.#buckets.keys().next().value as string);
    // A source that has had its share takes nothing from the others.
    if (bucket.tokens < 1) return false;
    this.#all = refilled(this.#all, this.#overall, nowMs);
    if (this.#all.tokens < 1) return false;
    bucket.tokens -= 1;
    this.#all.tokens -= 1;
    return true;
  }

  /** Sources that are remembered now. */
  get size(): number {
    return this.#buckets.size;
  }
}

function refilled(
  bucket: Bucket | undefined,
  { rate, burst }: { readonly rate: number; readonly burst: number },
  nowMs: number,
): Bucket {
  if (bucket === undefined) return { tokens: burst, atMs: nowMs };
  const tokens = Math.min(burst, bucket.tokens + (Math.max(0, nowMs - bucket.atMs) / 1_000) * rate);
  return { tokens, atMs: nowMs };
}
