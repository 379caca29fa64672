/** Runs one piece of work after the other, in the order they came, whether earlier ones failed or not. */
export class ExclusiveSection {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}
