import { delay, isDroverError, type Clock } from '@drover/lease-kit';

/** Waits between tries of a store call, doubled from min to max, with jitter; starts over after a success. */
export class StoreRetry {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #minMs: number;
  readonly #maxMs: number;
  #tries = 0;

  constructor(clock: Clock, random: () => number, minMs: number, maxMs: number) {
    this.#clock = clock;
    this.#random = random;
    this.#minMs = minMs;
    this.#maxMs = maxMs;
  }

  succeeded(): void {
    this.#tries = 0;
  }

  /** Resolves when it is time to try again, or at once when `signal` is aborted. */
  wait(signal: AbortSignal): Promise<void> {
    const fullMs = Math.min(this.#maxMs, this.#minMs * 2 ** Math.min(16, this.#tries));
    this.#tries += 1;
    return delay(this.#clock, fullMs * (0.5 + this.#random() / 2), signal);
  }
}

/** True for errors that the same call will meet again: the input is at fault, not the store. */
export function isLasting(error: unknown): boolean {
  return isDroverError(error) && ['fix-input', 'conflict', 'not-found', 'denied'].includes(error.advice);
}
