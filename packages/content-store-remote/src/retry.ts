import type { CallOptions, Digest } from '@drover/content-store';
import { delay, type Clock } from '@drover/lease-kit';
import { errorFromRemote, isTransient, retryAfterMs } from './error-from-remote.ts';

/** When to try again, and how often. */
export interface RetryOptions {
  readonly attemptsMax: number;
  readonly backOffMs: number;
  readonly backOffMaxMs: number;
}

/** Tries calls again when that may help, with growing waits that are varied so that clients do not come back together. */
export class Retry {
  readonly #clock: Clock;
  readonly #options: RetryOptions;

  constructor(clock: Clock, options: RetryOptions) {
    this.#clock = clock;
    this.#options = options;
  }

  /** Makes a call until it succeeds, its failure is final, or the attempts are used up. */
  async run<T>(options: CallOptions, work: (call: CallOptions) => Promise<T>): Promise<T> {
    const call = options.signal === undefined ? {} : { signal: options.signal };
    for (const attempts = this.attempts(options); ;) {
      try {
        return await work(call);
      } catch (error) {
        await attempts.failed(error);
      }
    }
  }

  /** Counts the attempts of something that tries again by itself; `digest` is the blob that it is about. */
  attempts(options: CallOptions, digest?: Digest): Attempts {
    let count = 0;
    return {
      succeeded: () => {
        count = 0;
      },
      failed: async (error, isWorthRetrying = isTransient(error)) => {
        options.signal?.throwIfAborted();
        count++;
        if (count >= this.#options.attemptsMax || !isWorthRetrying) throw errorFromRemote(error, digest);
        await this.#wait(retryAfterMs(error) ?? this.#backOffMs(count), options.signal);
      },
    };
  }

  #backOffMs(count: number): number {
    const { backOffMs, backOffMaxMs } = this.#options;
    return Math.min(backOffMaxMs, backOffMs * 2 ** (count - 1)) * (1 - Math.random() / 2);
  }

  async #wait(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
    await delay(this.#clock, Math.min(delayMs, this.#options.backOffMaxMs), signal);
    signal?.throwIfAborted();
  }
}

/** The attempts at one piece of work. */
export interface Attempts {
  /** There was progress: the count begins anew. */
  succeeded(): void;
  /** Waits until the next attempt, or throws what the failure means to the caller. By default transient errors are worth it. */
  failed(error: unknown, isWorthRetrying?: boolean): Promise<void>;
}
