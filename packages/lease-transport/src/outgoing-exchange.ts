import type { ExchangeLeasesRequest, LeaseProgress } from '@drover/lease-protocol';

/**
 * What an agent wants to say and has not said yet: at most one message, since copies are whole and replace each other.
 * Progress and the agent's description are no part of a copy, so that those of a replaced message move into its successor:
 * of progress the newest of each attempt.
 */
export class OutgoingExchange {
  #message: ExchangeLeasesRequest | undefined;
  #closed = false;
  #wake: (() => void) | undefined;

  /** Puts `message` in the place of one that nobody has taken. */
  put(message: ExchangeLeasesRequest): void {
    if (this.#closed) return;
    this.#message = this.#message ? replaceExchange(this.#message, message) : message;
    this.#notify();
  }

  /** True if a message waits to be taken. */
  get waiting(): boolean {
    return this.#message !== undefined;
  }

  /** The message that waits, which the caller now has. */
  take(): ExchangeLeasesRequest | undefined {
    const message = this.#message;
    this.#message = undefined;
    return message;
  }

  /** Gives back a message that did not get through; one that has been put since replaces it. */
  giveBack(message: ExchangeLeasesRequest): void {
    if (this.#closed) return;
    this.#message = this.#message ? replaceExchange(message, this.#message) : message;
  }

  /** Calls `wake` once: when a message is put, or at the end. At once if that has happened. One waiter at a time. */
  onNext(wake: () => void): void {
    this.#wake = wake;
    if (this.#closed || this.#message) this.#notify();
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** No message follows. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#message = undefined;
    this.#notify();
  }

  /** The messages as the body of a stream; each is taken when the stream can carry it, and not before. */
  stream(onTaken: () => void): AsyncIterable<ExchangeLeasesRequest> {
    const next = (): Promise<IteratorResult<ExchangeLeasesRequest>> =>
      new Promise((resolve) =>
        this.onNext(() => {
          const value = this.take();
          if (!value) return resolve({ done: true, value: undefined });
          onTaken();
          resolve({ done: false, value });
        }),
      );
    return {
      [Symbol.asyncIterator]: () => ({
        next,
        return: () => {
          this.close();
          return Promise.resolve({ done: true, value: undefined });
        },
        // Connect asks for it: the stream broke while it sent.
        throw: (error: unknown) => {
          this.close();
          return Promise.reject(error);
        },
      }),
    };
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

/** `newer` with the progress and the description of `older` of which it says nothing itself. */
export function replaceExchange(older: ExchangeLeasesRequest, newer: ExchangeLeasesRequest): ExchangeLeasesRequest {
  const description = newer.description ?? older.description;
  const described = description === undefined ? newer : { ...newer, description };
  if (older.progress.length === 0) return described;
  const newest = new Map<string, LeaseProgress>();
  for (const entry of [...older.progress, ...newer.progress]) newest.set(`${entry.attempt}:${entry.leaseId}`, entry);
  return { ...described, progress: [...newest.values()] };
}
