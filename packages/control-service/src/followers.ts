import type { Clock, ScheduledCall } from '@drover/lease-kit';
import type { StoreSignal, StoreSignals } from '@drover/lease-store';
import { followersFull } from './input-errors.ts';

/** Waits for changes of one thing. */
export interface Follower extends Disposable {
  /** Resolves at a change since the last call, after the poll interval, or when the call is over. */
  changed(): Promise<void>;
}

/** What followers are told about, as text. */
export type FollowedKey = `job:${string}` | `lease:${string}`;

/** Calls that follow jobs and logs: one listener to the store's signals for all, a poll underneath for each. */
export class Followers {
  readonly #signals: StoreSignals;
  readonly #clock: Clock;
  readonly #followersMax: number;
  readonly #pollMs: number;
  readonly #wakes = new Map<FollowedKey, Set<() => void>>();
  #count = 0;
  #unlisten: (() => void) | undefined;

  constructor(signals: StoreSignals, clock: Clock, followersMax: number, pollMs: number) {
    this.#signals = signals;
    this.#clock = clock;
    this.#followersMax = followersMax;
    this.#pollMs = pollMs;
  }

  /** Follows some things until disposed. Throws `FOLLOWERS_FULL`. */
  follow(keys: readonly FollowedKey[], signal: AbortSignal): Follower {
    if (this.#count >= this.#followersMax) throw followersFull(this.#followersMax);
    this.#count += 1;
    this.#unlisten ??= this.#signals.listen((storeSignal) => this.#tell(storeSignal));
    let pending = false;
    let waiter: (() => void) | undefined;
    const wake = (): void => {
      pending = true;
      waiter?.();
    };
    for (const key of keys) {
      const wakes = this.#wakes.get(key);
      if (wakes === undefined) this.#wakes.set(key, new Set([wake]));
      else wakes.add(wake);
    }
    signal.addEventListener('abort', wake);
    return {
      changed: async () => {
        let timer: ScheduledCall | undefined;
        await new Promise<void>((resolve) => {
          waiter = resolve;
          if (pending || signal.aborted) return resolve();
          timer = this.#clock.schedule(this.#pollMs, resolve);
        });
        timer?.cancel();
        waiter = undefined;
        pending = false;
      },
      [Symbol.dispose]: () => {
        signal.removeEventListener('abort', wake);
        for (const key of keys) {
          const wakes = this.#wakes.get(key);
          wakes?.delete(wake);
          if (wakes?.size === 0) this.#wakes.delete(key);
        }
        this.#count -= 1;
        if (this.#count > 0) return;
        this.#unlisten?.();
        this.#unlisten = undefined;
      },
    };
  }

  #tell(signal: StoreSignal): void {
    if (signal.kind === 'job') this.#wake(`job:${signal.jobId}`);
    else if (signal.kind === 'log') this.#wake(`lease:${signal.leaseId}`);
    else if (signal.kind === 'resync') for (const key of this.#wakes.keys()) this.#wake(key);
  }

  #wake(key: FollowedKey): void {
    for (const wake of this.#wakes.get(key) ?? []) wake();
  }
}
