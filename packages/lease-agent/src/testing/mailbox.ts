/** At most one value that nobody has taken: the newest. */
export class Mailbox<T> implements AsyncIterableIterator<T> {
  #value: T | undefined;
  #waiter: PromiseWithResolvers<IteratorResult<T>> | undefined;
  #ended = false;
  #error: unknown;

  put(value: T): void {
    if (this.#ended) return;
    this.#value = value;
    this.#settle();
  }

  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#settle();
  }

  next(): Promise<IteratorResult<T>> {
    this.#waiter = Promise.withResolvers();
    const { promise } = this.#waiter;
    this.#settle();
    return promise;
  }

  return(): Promise<IteratorResult<T>> {
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #settle(): void {
    const waiter = this.#waiter;
    if (!waiter || (this.#value === undefined && !this.#ended)) return;
    this.#waiter = undefined;
    const value = this.#value;
    this.#value = undefined;
    if (value !== undefined) waiter.resolve({ done: false, value });
    else if (this.#error !== undefined) waiter.reject(this.#error);
    else waiter.resolve({ done: true, value: undefined });
  }
}
