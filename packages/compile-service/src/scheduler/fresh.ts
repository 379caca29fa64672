import type { Clock } from '@drover/lease-kit';

interface Loaded<Value> {
  readonly value: Value;
  readonly atMs: number;
}

/** A value that is loaded again when it is asked for and too old; those who ask meanwhile share the answer. */
export class Fresh<Value> {
  readonly #maxMs: number;
  readonly #clock: Clock;
  readonly #load: () => Promise<Value>;
  #loaded: Loaded<Value> | undefined;
  #loading: Promise<Loaded<Value>> | undefined;

  constructor(maxMs: number, clock: Clock, load: () => Promise<Value>) {
    this.#maxMs = maxMs;
    this.#clock = clock;
    this.#load = load;
  }

  /** The value, as old as allowed at most. Throws what loading throws. */
  async value(): Promise<Value> {
    return (await this.aged()).value;
  }

  /** The same with its age. */
  async aged(): Promise<{ readonly value: Value; readonly ageMs: number }> {
    const known = this.#loaded;
    const isFresh = known !== undefined && this.#clock.monotonicMs() - known.atMs < this.#maxMs;
    const { value, atMs } = isFresh ? known : await (this.#loading ??= this.#again());
    return { value, ageMs: Math.max(0, this.#clock.monotonicMs() - atMs) };
  }

  /** What comes next is loaded, also if an older load is under way. */
  forget(): void {
    this.#loaded = undefined;
    this.#loading = undefined;
  }

  #again(): Promise<Loaded<Value>> {
    const atMs = this.#clock.monotonicMs();
    const loading: Promise<Loaded<Value>> = this.#load()
      .then((value) => {
        const loaded = { value, atMs };
        if (this.#loading === loading) this.#loaded = loaded;
        return loaded;
      })
      .finally(() => {
        if (this.#loading === loading) this.#loading = undefined;
      });
    return loading;
  }
}
