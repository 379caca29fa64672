/**
 * The same messages, with the errors of their iterator converted. One small object for each iterator: an async generator, or
 * closures for each method, cost a server memory for as long as a stream is open, and turns of the queue for each message.
 */
export function convertErrors<T>(messages: AsyncIterable<T>, convert: (error: unknown) => Error): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      try {
        return new ConvertingIterator(messages[Symbol.asyncIterator](), convert);
      } catch (error) {
        return { next: () => Promise.reject(convert(error)) };
      }
    },
  };
}

class ConvertingIterator<T> implements AsyncIterator<T> {
  readonly #inner: AsyncIterator<T>;
  readonly #rethrow: (error: unknown) => never;

  constructor(inner: AsyncIterator<T>, convert: (error: unknown) => Error) {
    this.#inner = inner;
    this.#rethrow = (error) => {
      throw convert(error);
    };
  }

  next(): Promise<IteratorResult<T>> {
    return this.#inner.next().catch(this.#rethrow);
  }

  return(value?: unknown): Promise<IteratorResult<T>> {
    return this.#inner.return?.(value).catch(this.#rethrow) ?? Promise.resolve({ done: true, value: undefined });
  }

  throw(error: unknown): Promise<IteratorResult<T>> {
    return (this.#inner.throw?.(error) ?? Promise.reject(error)).catch(this.#rethrow);
  }
}
