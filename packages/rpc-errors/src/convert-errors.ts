/**
 * The same messages, with the errors of their iterator converted. One small object for each iterator: an async generator, or
 * closures for each method, cost a server memory for as long as a stream is open, and turns of the queue for each message.
 */
export function convertErrors<T>(
  messages: AsyncIterable<T>,
  convert: (error: unknown) => Error,
  /** Called when they have all been read. */
  ended?: () => void,
): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      try {
        return new ConvertingIterator(messages[Symbol.asyncIterator](), convert, ended);
      } catch (error) {
        return { next: () => Promise.reject(convert(error)) };
      }
    },
  };
}

class ConvertingIterator<T> implements AsyncIterator<T> {
  readonly #inner: AsyncIterator<T>;
  readonly #passOn: ((result: IteratorResult<T>) => IteratorResult<T>) | undefined;
  readonly #rethrow: (error: unknown) => never;

  constructor(inner: AsyncIterator<T>, convert: (error: unknown) => Error, ended: (() => void) | undefined) {
    this.#inner = inner;
    this.#rethrow = (error) => {
      throw convert(error);
    };
    this.#passOn =
      ended &&
      ((result) => {
        if (result.done === true) ended();
        return result;
      });
  }

  next(): Promise<IteratorResult<T>> {
    return this.#inner.next().then(this.#passOn, this.#rethrow);
  }

  return(value?: unknown): Promise<IteratorResult<T>> {
    return this.#inner.return?.(value).catch(this.#rethrow) ?? Promise.resolve({ done: true, value: undefined });
  }

  throw(error: unknown): Promise<IteratorResult<T>> {
    return (this.#inner.throw?.(error) ?? Promise.reject(error)).catch(this.#rethrow);
  }
}
