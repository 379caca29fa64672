import type { ExchangeLeasesResponse } from '@drover/lease-protocol';
import type { CopyToSend, SessionLink } from './lease-session.ts';

/**
 * What a stream still has to carry to its agent: at most one copy, since each replaces the one before. Converting it is put
 * off until the stream can carry it. An idle link is one small object and one pending promise.
 */
export class OutgoingCopies implements SessionLink, AsyncIterableIterator<ExchangeLeasesResponse> {
  readonly #closed: () => void;
  #copy: CopyToSend | undefined;
  #waiter: PromiseWithResolvers<IteratorResult<ExchangeLeasesResponse>> | undefined;
  #ended = false;
  #error: unknown;

  /** `closed` is called once, when the stream or the server has ended it. */
  constructor(closed: () => void) {
    this.#closed = closed;
  }

  /** Nothing is carried any more. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Takes the place of a copy that has not left. */
  put(copy: CopyToSend): void {
    if (this.#ended) return;
    if (this.#waiter === undefined) {
      this.#copy = copy;
      return;
    }
    const { resolve } = this.#waiter;
    this.#waiter = undefined;
    resolve({ done: false, value: copy(this) });
  }

  /** Says something beside the copies, if the stream carries it at once; whatever waits for the stream matters more. */
  hint(message: () => ExchangeLeasesResponse): boolean {
    if (this.#waiter === undefined || this.#ended) return false;
    this.put(message);
    return true;
  }

  /** Nothing follows; with an error, the stream breaks with it. Idempotent. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#copy = undefined;
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter !== undefined) {
      this.#error = undefined;
      if (error === undefined) waiter.resolve({ done: true, value: undefined });
      else waiter.reject(error);
    }
    this.#closed();
  }

  next(): Promise<IteratorResult<ExchangeLeasesResponse>> {
    if (this.#error !== undefined) {
      const error = this.#error;
      this.#error = undefined;
      return Promise.reject(error);
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    if (this.#copy !== undefined) {
      const copy = this.#copy;
      this.#copy = undefined;
      return Promise.resolve({ done: false, value: copy(this) });
    }
    this.#waiter = Promise.withResolvers();
    return this.#waiter.promise;
  }

  return(): Promise<IteratorResult<ExchangeLeasesResponse>> {
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
