import { DroverError } from '@drover/lease-kit';

/** Bounds on the calls of machines that nobody knows yet. */
export interface EnrolmentCallLimits {
  /** Applications at once; ENROLMENTS_BUSY beyond. Default 2,048. */
  readonly applicationsMax: number;
  /** Of those, from one address, so that one machine cannot keep all others out. Default 256. */
  readonly applicationsPerAddressMax: number;
  /** Renewals at once. They are counted apart: strangers must not keep enrolled agents from theirs. Default 2,048. */
  readonly renewalsMax: number;
  /**
   * Applications that are at the store at once; others wait their turn. They go through one lock there, and each that waits
   * for it holds a connection that the work of the fleet needs. Default 2.
   */
  readonly storeCallsMax: number;
}

/** What holds where nothing else is said. */
export const defaultEnrolmentCallLimits: EnrolmentCallLimits = {
  applicationsMax: 2_048,
  applicationsPerAddressMax: 256,
  renewalsMax: 2_048,
  storeCallsMax: 2,
};

/** Counts calls, all and by their address. Throws ENROLMENTS_BUSY where there are too many. */
export class CallCount {
  readonly #max: number;
  readonly #perAddressMax: number;
  readonly #byAddress = new Map<string, number>();
  #calls = 0;

  constructor(max: number, perAddressMax = max) {
    this.#max = max;
    this.#perAddressMax = perAddressMax;
  }

  /** Counts a call until it has ended. */
  async during<T>(address: string, run: () => Promise<T>): Promise<T> {
    const ofAddress = this.#byAddress.get(address) ?? 0;
    if (this.#calls >= this.#max) throw enrolmentsBusy(`${this.#max} machines`);
    if (ofAddress >= this.#perAddressMax) throw enrolmentsBusy(`${this.#perAddressMax} machines of ${address}`);
    this.#calls += 1;
    this.#byAddress.set(address, ofAddress + 1);
    try {
      return await run();
    } finally {
      this.#calls -= 1;
      const left = this.#byAddress.get(address)! - 1;
      if (left > 0) this.#byAddress.set(address, left);
      else this.#byAddress.delete(address);
    }
  }
}

/** Lets so many in at once, the others in their order. */
export class Turns {
  readonly #max: number;
  readonly #waiting: (() => void)[] = [];
  #taken = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** Runs `run` when it is its turn. Rejects with the signal's reason if nobody waits for it by then. */
  async take<T>(signal: AbortSignal, run: () => Promise<T>): Promise<T> {
    if (this.#taken < this.#max) this.#taken += 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      signal.throwIfAborted();
      return await run();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#taken -= 1;
      else next();
    }
  }
}

function enrolmentsBusy(who: string): DroverError {
  return new DroverError({
    code: 'ENROLMENTS_BUSY',
    advice: 'exhausted',
    message: `${who} ask this server about their enrolment, which is the most allowed.`,
    retryAfterMs: 5_000,
  });
}
