import { DroverError, type Clock } from '@drover/lease-kit';
import type { PreparedImage } from './sandbox-image.ts';

/** What somebody waits for. */
export interface WishedUse {
  readonly key: string;
  readonly tenant: string;
  readonly image: PreparedImage;
}

/** Somebody who waits. */
export interface WaitingUse<Place> {
  readonly wish: WishedUse;
  resolve(place: Place): void;
  reject(error: unknown): void;
}

/** Bounds of a queue. */
export interface WaitingUsesOptions {
  readonly waitMsMax: number;
  readonly waitingMax: number;
}

/** Those that wait for a sandbox: each tenant's in the order in which they came, and tenants in turn. */
export class WaitingUses<Place> {
  readonly #options: WaitingUsesOptions;
  readonly #clock: Clock;
  readonly #onLeft: () => void;
  /** By tenant, whose turn is next first. */
  readonly #byTenant = new Map<string, Set<WaitingUse<Place>>>();
  #size = 0;

  constructor(options: WaitingUsesOptions, clock: Clock, onLeft: () => void) {
    this.#options = options;
    this.#clock = clock;
    this.#onLeft = onLeft;
  }

  get size(): number {
    return this.#size;
  }

  tenants(): ReadonlySet<string> {
    return new Set(this.#byTenant.keys());
  }

  /** True if everybody waits for the same thing. */
  wantsOnly(key: string): boolean {
    return [...this.#byTenant.values()].every((uses) => [...uses].every(({ wish }) => wish.key === key));
  }

  /** Waits. Rejects with `SANDBOXES_TAKEN` at once where too many wait, or when the time is over, or with the signal's reason. */
  add(wish: WishedUse, signal: AbortSignal): Promise<Place> {
    const { waitMsMax, waitingMax } = this.#options;
    if (this.#size >= waitingMax) return Promise.reject(taken(`${waitingMax} uses wait for a sandbox already`));
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        timer.cancel();
        signal.removeEventListener('abort', onAbort);
        this.#remove(use);
      };
      const fail = (error: unknown): void => {
        leave();
        reject(error);
        this.#onLeft();
      };
      const use: WaitingUse<Place> = {
        wish,
        resolve(place) {
          leave();
          resolve(place);
        },
        reject: fail,
      };
      const onAbort = (): void => fail(signal.reason);
      const timer = this.#clock.schedule(waitMsMax, () => fail(taken(`no sandbox became free within ${waitMsMax} ms`)));
      signal.addEventListener('abort', onAbort, { once: true });
      const uses = this.#byTenant.get(wish.tenant);
      if (uses === undefined) this.#byTenant.set(wish.tenant, new Set([use]));
      else uses.add(use);
      this.#size += 1;
    });
  }

  /** Everybody who waits: the first of each tenant, then the second of each, and so on. */
  inTurn(): readonly WaitingUse<Place>[] {
    const queues = [...this.#byTenant.values()].map((uses) => [...uses]);
    const longest = Math.max(0, ...queues.map(({ length }) => length));
    return Array.from({ length: longest }, (_, n) => queues.flatMap((queue) => queue[n] ?? [])).flat();
  }

  /** Gives somebody a place; the tenant's next turn is behind the others'. */
  give(use: WaitingUse<Place>, place: Place): void {
    const { tenant } = use.wish;
    use.resolve(place);
    const left = this.#byTenant.get(tenant);
    if (left === undefined) return;
    this.#byTenant.delete(tenant);
    this.#byTenant.set(tenant, left);
  }

  refuseAll(error: Error): void {
    for (const use of this.inTurn()) use.reject(error);
  }

  #remove(use: WaitingUse<Place>): void {
    const uses = this.#byTenant.get(use.wish.tenant);
    if (uses?.delete(use) !== true) return;
    this.#size -= 1;
    if (uses.size === 0) this.#byTenant.delete(use.wish.tenant);
  }
}

function taken(message: string): DroverError {
  return new DroverError({ code: 'SANDBOXES_TAKEN', advice: 'exhausted', message, retryAfterMs: 1_000 });
}
