/** Users that machines are run as: each has one of its own, so that one that breaks out harms no other. */
export class UserIds {
  readonly #first: number;
  readonly #count: number;
  readonly #taken = new Set<number>();
  #next = 0;

  constructor(first: number, count: number) {
    this.#first = first;
    this.#count = count;
  }

  /** One that no machine has; undefined if all are taken. The one that was given back last comes last. */
  take(): number | undefined {
    for (let tries = 0; tries < this.#count; tries += 1) {
      const id = this.#first + this.#next;
      this.#next = (this.#next + 1) % this.#count;
      if (this.#taken.has(id)) continue;
      this.#taken.add(id);
      return id;
    }
    return undefined;
  }

  giveBack(id: number): void {
    this.#taken.delete(id);
  }
}
