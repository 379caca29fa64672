import { DroverError, type Clock } from '@drover/lease-kit';
import { isIPv6 } from 'node:net';

/** Bounds of {@link AttemptLimiter}. */
export interface AttemptLimits {
  /** Calls of one address that are taken at once. */
  readonly burst: number;
  /** How long until one more is taken, in ms. */
  readonly refillMs: number;
}

const addressesMax = 1_024;

/**
 * How often one address may try to be let in. An IPv6 network of 64 bits counts as one address, since one machine has all of
 * it. Beyond 1,024 addresses the one that was heard of longest ago is forgotten.
 */
export class AttemptLimiter {
  readonly #limits: AttemptLimits;
  readonly #clock: Clock;
  /** When each address will have its whole burst again, the one that was heard of last at the end. */
  readonly #restedAtMs = new Map<string, number>();

  constructor(limits: AttemptLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Counts one call. Throws `PAIRING_RATE_LIMITED`. */
  take(address: string): void {
    const { burst, refillMs } = this.#limits;
    const network = networkOf(address);
    const nowMs = this.#clock.monotonicMs();
    const restedAtMs = Math.max(nowMs, this.#restedAtMs.get(network) ?? 0) + refillMs;
    const waitMs = restedAtMs - nowMs - burst * refillMs;
    if (waitMs > 0) {
      throw new DroverError({
        code: 'PAIRING_RATE_LIMITED',
        advice: 'exhausted',
        message: `Too many calls from ${address} to be let in; a further one is looked at in ${Math.ceil(waitMs / 1_000)} s.`,
        retryAfterMs: Math.ceil(waitMs),
      });
    }
    this.#restedAtMs.delete(network);
    this.#restedAtMs.set(network, restedAtMs);
    if (this.#restedAtMs.size <= addressesMax) return;
    for (const oldest of this.#restedAtMs.keys()) return void this.#restedAtMs.delete(oldest);
  }
}

function networkOf(address: string): string {
  if (!isIPv6(address) || address.includes('.')) return address;
  const [head = '', tail] = address.split('%', 1)[0]!.split('::');
  const front = head === '' ? [] : head.split(':');
  const back = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [...front, ...Array<string>(Math.max(0, 8 - front.length - back.length)).fill('0'), ...back];
  return groups.slice(0, 4).join(':');
}
