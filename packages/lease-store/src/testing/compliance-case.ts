import type { DroverStore } from '../drover-store.ts';

/** A store under test, empty and used by one case alone. */
export interface StoreSubject {
  readonly store: DroverStore;
  /** Lets `ms` of the store's time pass. A store on a clock that cannot be moved may shift what it has stored back. */
  elapse(ms: number): Promise<void>;
}

/** One thing that every store does. `run` rejects with an assertion error if `subject` does not. */
export interface StoreCase {
  readonly name: string;
  run(subject: StoreSubject): Promise<void>;
}
