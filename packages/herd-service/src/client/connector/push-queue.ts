/** What is put in by one side and taken by the other, one reader after another. */
export class PushQueue<Item> implements AsyncIterableIterator<Item> {
  #waiting: Item[] = [];
  #asked: ((result: IteratorResult<Item>) => void) | undefined;
  #ended = false;

  /** Without effect after the end. */
  push(item: Item): void {
    if (this.#ended) return;
    const asked = this.#asked;
    this.#asked = undefined;
    if (asked === undefined) this.#waiting.push(item);
    else asked({ done: false, value: item });
  }

  /** Nothing follows what was put in. */
  end(): void {
    this.#ended = true;
    if (this.#waiting.length === 0) this.#asked?.({ done: true, value: undefined });
    this.#asked = undefined;
  }

  next(): Promise<IteratorResult<Item>> {
    const item = this.#waiting.shift();
    if (item !== undefined) return Promise.resolve({ done: false, value: item });
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => (this.#asked = resolve));
  }

  return(): Promise<IteratorResult<Item>> {
    this.#waiting = [];
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
