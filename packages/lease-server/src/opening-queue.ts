/**
 * Lets a bounded number of calls in at a time, the one that came first first. After a server has started again, thousands of
 * agents want a session at the same moment: without an order all of them wait for the store until none has an answer in
 * time, and try again.
 */
export class OpeningQueue {
  readonly #atOnceMax: number;
  readonly #waiting = new Set<() => void>();
  #inside = 0;

  constructor(atOnceMax: number) {
    this.#atOnceMax = atOnceMax;
  }

  /** Calls that wait. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Resolves with what ends the visit, which is to be called exactly once. Rejects with the signal's reason on abort. */
  async enter(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#inside < this.#atOnceMax) this.#inside += 1;
    else await this.#turn(signal);
    return () => this.#leave();
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      // A caller that gave up leaves its place: what it asked for would help nobody.
      const onAbort = (): void => {
        this.#waiting.delete(proceed);
        reject(signal.reason as Error);
      };
      const proceed = (): void => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(proceed);
    });
  }

  #leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#inside -= 1;
      return;
    }
    // Its place goes on to the next one.
    this.#waiting.delete(next);
    next();
  }
}
