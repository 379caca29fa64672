import type { Clock, ScheduledCall } from '@drover/lease-kit';
import type { PipeItem } from './pipe-item.ts';

/** How fast items are passed on. */
export interface ItemPace {
  /** On average, items a second. Default 200. */
  readonly itemsPerSecondMax?: number;
  /** At once after a pause. Default 1,000. */
  readonly burstMax?: number;
}

/** An item that is passed on, or how many were not since the last time that this was said. */
export type PacedItem = Exclude<PipeItem, { kind: 'end' }> | { readonly kind: 'dropped'; readonly count: number };

/**
 * Passes items on at a bounded pace. Those beyond it are left out and counted; of them, the last progress is passed on later, since
 * it is what counts.
 */
export class PacedItems {
  readonly #clock: Clock;
  readonly #pass: (item: PacedItem) => void;
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #filledMs: number;
  #dropped = 0;
  #progress: PacedItem | undefined;
  #later: ScheduledCall | undefined;

  constructor(pace: ItemPace, clock: Clock, pass: (item: PacedItem) => void) {
    this.#clock = clock;
    this.#pass = pass;
    this.#perMs = (pace.itemsPerSecondMax ?? 200) / 1_000;
    this.#burst = pace.burstMax ?? 1_000;
    this.#tokens = this.#burst;
    this.#filledMs = clock.monotonicMs();
  }

  push(item: PipeItem): void {
    if (item.kind === 'end') return;
    if (this.#later === undefined && this.#take()) return this.#pass(item);
    if (item.kind === 'progress') {
      if (this.#progress !== undefined) this.#dropped += 1;
      this.#progress = item;
    } else this.#dropped += 1;
    this.#tellLater();
  }

  /** So many items were left out before they came here. */
  left(count: number): void {
    if (count <= 0) return;
    this.#dropped += count;
    this.#tellLater();
  }

  /** Says what was left out; nothing is said later. */
  end(): void {
    this.#later?.cancel();
    this.#tell();
  }

  #tellLater(): void {
    this.#later ??= this.#clock.schedule(1_000, () => this.#tell());
  }

  #tell(): void {
    this.#later = undefined;
    const progress = this.#progress;
    const count = this.#dropped;
    this.#progress = undefined;
    this.#dropped = 0;
    if (progress) this.#pass(progress);
    if (count > 0) this.#pass({ kind: 'dropped', count });
  }

  #take(): boolean {
    const nowMs = this.#clock.monotonicMs();
    this.#tokens = Math.min(this.#burst, this.#tokens + (nowMs - this.#filledMs) * this.#perMs);
    this.#filledMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
