import { principalName, type Principal } from '@drover/lease-kit';
import { serviceError } from './service-errors.ts';

/** How long a refused caller is told to wait. */
const retryAfterMs = 1000;

/** Counts the calls of one kind that are under way, in all and of each principal. */
export class CallSlots {
  readonly #what: string;
  readonly #max: number;
  readonly #perPrincipalMax: number;
  readonly #taken = new Map<string, number>();
  #total = 0;

  constructor(what: string, max: number, perPrincipalMax: number = max) {
    this.#what = what;
    this.#max = max;
    this.#perPrincipalMax = perPrincipalMax;
  }

  /** Takes a slot until the result is disposed of. Throws `TOO_MANY_CALLS`. */
  take(principal: Principal): Disposable {
    const name = principalName(principal);
    const mine = this.#taken.get(name) ?? 0;
    if (this.#total >= this.#max) throw this.#refusal(this.#max);
    if (mine >= this.#perPrincipalMax) throw this.#refusal(this.#perPrincipalMax, ` of ${name}`);
    this.#total++;
    this.#taken.set(name, mine + 1);
    let isHeld = true;
    return {
      [Symbol.dispose]: () => {
        if (!isHeld) return;
        isHeld = false;
        this.#total--;
        const left = this.#taken.get(name)! - 1;
        if (left === 0) this.#taken.delete(name);
        else this.#taken.set(name, left);
      },
    };
  }

  #refusal(max: number, whose = ''): Error {
    const message = `${max} ${this.#what}${whose} are under way, which is the most allowed`;
    return serviceError('TOO_MANY_CALLS', message, 'exhausted', retryAfterMs);
  }
}
