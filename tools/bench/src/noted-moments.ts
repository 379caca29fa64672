import { monotonicMs } from './monotonic-ms.ts';

/** When something happened to a piece of work, in ms of the machine's monotonic clock. */
export type Moment = readonly [id: string, atMs: number];

/** Counts moments of one kind in a process, tells when so many have come, and keeps their times if they are wanted. */
export class NotedMoments {
  #count = 0;
  #times: Moment[] = [];
  #waiting: { readonly count: number; readonly reached: () => void }[] = [];

  /** One has come, just now or at `atMs`. */
  add(id: string, keepsTimes: boolean, atMs = keepsTimes ? monotonicMs() : 0): void {
    if (keepsTimes) this.#times.push([id, atMs]);
    this.#count += 1;
    if (this.#waiting.length === 0) return;
    const reached = this.#waiting.filter(({ count }) => count <= this.#count);
    if (reached.length === 0) return;
    this.#waiting = this.#waiting.filter(({ count }) => count > this.#count);
    for (const waiter of reached) waiter.reached();
  }

  /** How many have come since the process started. */
  get count(): number {
    return this.#count;
  }

  /** Resolves when so many have come since the process started. */
  reached(count: number): Promise<void> {
    if (this.#count >= count) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ count, reached: resolve }));
  }

  /** The times since the last call. */
  takeTimes(): readonly Moment[] {
    return this.#times.splice(0);
  }
}
