import { DroverError, systemClock, type Clock } from '@drover/lease-kit';
import { isIPv6 } from 'node:net';

/** Bounds of {@link FailedSignIns}. */
export interface FailedSignInsOptions {
  /** Failures of one address that are taken at once. Default 20. */
  readonly burst?: number;
  /** How long until one more is taken, in ms. Default 1,000. */
  readonly refillMs?: number;
  /** Addresses that are remembered; the one that failed longest ago is forgotten beyond. Default 10,000. */
  readonly addressesMax?: number;
}

/**
 * Credentials that were not right, by address: whoever fails often waits before a credential of his that is not known yet is
 * looked at again. Credentials that are known already cost nothing and are never kept waiting. An IPv6 network of 64 bits
 * counts as one address, since one machine has all of it.
 */
export class FailedSignIns {
  readonly #clock: Clock;
  readonly #burst: number;
  readonly #refillMs: number;
  readonly #addressesMax: number;
  /** When each address will have been forgiven everything, the one that failed last at the end. */
  readonly #forgivenAtMs = new Map<string, number>();

  constructor({ burst = 20, refillMs = 1_000, addressesMax = 10_000 }: FailedSignInsOptions = {}, clock = systemClock) {
    this.#clock = clock;
    this.#burst = burst;
    this.#refillMs = refillMs;
    this.#addressesMax = addressesMax;
  }

  /** Throws `SIGN_INS_LIMITED` for an address that has failed too often. */
  check(address: string): void {
    const forgivenAtMs = this.#forgivenAtMs.get(networkOf(address)) ?? 0;
    const waitMs = forgivenAtMs - this.#clock.monotonicMs() - (this.#burst - 1) * this.#refillMs;
    if (waitMs <= 0) return;
    throw new DroverError({
      code: 'SIGN_INS_LIMITED',
      advice: 'exhausted',
      message: `Too many credentials from ${address} were not right; a further one is looked at in ${Math.ceil(waitMs / 1_000)} s.`,
      retryAfterMs: Math.ceil(waitMs),
    });
  }

  /** Remembers a credential that was not right. */
  note(address: string): void {
    const network = networkOf(address);
    const nowMs = this.#clock.monotonicMs();
    const forgivenAtMs = Math.max(nowMs, this.#forgivenAtMs.get(network) ?? 0) + this.#refillMs;
    this.#forgivenAtMs.delete(network);
    this.#forgivenAtMs.set(network, Math.min(forgivenAtMs, nowMs + this.#burst * this.#refillMs));
    if (this.#forgivenAtMs.size <= this.#addressesMax) return;
    for (const oldest of this.#forgivenAtMs.keys()) {
      this.#forgivenAtMs.delete(oldest);
      return;
    }
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
