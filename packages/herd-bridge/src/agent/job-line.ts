import { DroverError } from '@drover/lease-kit';

/** Lets clients have their jobs in the order in which they came, so many at a time. */
export class JobLine {
  readonly #placesMax: number;
  readonly #waitingMax: number;
  readonly #waiting = new Set<() => void>();
  #taken = 0;

  constructor(placesMax: number, waitingMax: number) {
    this.#placesMax = placesMax;
    this.#waitingMax = waitingMax;
  }

  /** True while somebody who came now would have to wait. */
  get isFull(): boolean {
    return this.#taken >= this.#placesMax;
  }

  /**
   * Waits for a place; disposing gives it to the next. Throws `HERD_LINE_TOO_LONG`; an abort throws the signal's reason.
   */
  async enter(signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    if (this.isFull) await this.#turn(signal);
    else this.#taken += 1;
    let isHeld = true;
    return {
      [Symbol.dispose]: () => {
        if (!isHeld) return;
        isHeld = false;
        const [next] = this.#waiting;
        if (next === undefined) this.#taken -= 1;
        else next();
      },
    };
  }

  /** Resolves with a place that another has given up. */
  async #turn(signal: AbortSignal): Promise<void> {
    if (this.#waiting.size >= this.#waitingMax) {
      throw new DroverError({
        code: 'HERD_LINE_TOO_LONG',
        advice: 'exhausted',
        message: `${this.#waiting.size} clients wait already, at most ${this.#waitingMax} may`,
      });
    }
    const turn = Promise.withResolvers<void>();
    const onTurn = (): void => {
      this.#waiting.delete(onTurn);
      turn.resolve();
    };
    const onAbort = (): void => {
      // A place that was given already is kept: then the promise is resolved and this changes nothing.
      this.#waiting.delete(onTurn);
      turn.reject(signal.reason);
    };
    this.#waiting.add(onTurn);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await turn.promise;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }
}
