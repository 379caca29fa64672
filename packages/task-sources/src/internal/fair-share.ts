import type { LeaseRequirements } from '@drover/lease-kit';
import type { ClaimShare, WaitingClass } from '@drover/lease-store';

/** How much a submitter gets of a pool (undefined: of work that names none), compared with others. Above 0; 1 is usual. */
export type WeightOf = (pool: string | undefined, submitter: string) => number;

/** Most submitters of all pools together whose past counts; beyond, those who got least are forgotten. */
const submittersMax = 16_384;

/** What one pool remembers. */
interface PoolTurns {
  /** The tag of whoever is next: a submitter that comes new, or back, starts here. Never goes down. */
  now: number;
  /** Virtual finish time of the last lease of each submitter. */
  readonly finished: Map<string, number>;
}

/**
 * Weighted fair queueing by virtual time (Goyal, Vin and Cheng: Start-time Fair Queuing, 1996): every lease that a submitter
 * gets puts it back by what the lease costs over its weight, and whoever stands first is next. Who has nothing waiting saves
 * nothing up. Each server keeps its own turns: each is fair by itself, so all are together.
 */
export class FairShare {
  readonly #weightOf: WeightOf;
  readonly #pools = new Map<string, PoolTurns>();

  constructor(weightOf: WeightOf) {
    this.#weightOf = weightOf;
  }

  /** Looks at what waits: the present of each pool moves on to whoever is next among those who wait. */
  waiting(classes: readonly WaitingClass[]): void {
    const next = new Map<string, number>();
    for (const { requirements, submitter } of classes) {
      const pool = poolKey(requirements);
      const tag = this.#pools.get(pool)?.finished.get(submitter) ?? 0;
      next.set(pool, Math.min(tag, next.get(pool) ?? Number.POSITIVE_INFINITY));
    }
    for (const pool of this.#pools.keys()) if (!next.has(pool)) this.#pools.delete(pool);
    for (const [pool, tag] of next) {
      const turns = this.#turnsOf(pool);
      turns.now = Math.max(turns.now, tag);
      // Who is not ahead of the present starts at it anyway.
      for (const [submitter, finished] of turns.finished) {
        if (finished <= turns.now) turns.finished.delete(submitter);
      }
    }
  }

  /** The shares of a claim's classes; undefined if one submitter alone is among them. */
  sharesOf(classes: readonly WaitingClass[]): readonly ClaimShare[] | undefined {
    const first = classes[0]?.submitter;
    if (classes.every(({ submitter }) => submitter === first)) return undefined;
    const numbers = new Map<string, number>();
    return classes.map(({ submitter, requirements }) => {
      const pool = poolKey(requirements);
      const key = `${pool}\n${submitter}`;
      const number = numbers.get(key) ?? numbers.size;
      numbers.set(key, number);
      const { now, finished } = this.#turnsOf(pool);
      // Pools have times of their own, so that a claim compares how far each submitter is ahead of its pool's.
      const start = Math.max(0, (finished.get(submitter) ?? 0) - now);
      return { submitter: number, start, step: this.#stepOf(requirements, submitter) };
    });
  }

  /** Counts a lease that somebody got. */
  served(requirements: LeaseRequirements, submitter: string): void {
    const turns = this.#turnsOf(poolKey(requirements));
    const before = Math.max(turns.now, turns.finished.get(submitter) ?? 0);
    turns.finished.set(submitter, before + this.#stepOf(requirements, submitter));
    if (turns.finished.size > submittersMax) forgetLeast(turns.finished);
  }

  #turnsOf(pool: string): PoolTurns {
    let turns = this.#pools.get(pool);
    if (turns === undefined) {
      turns = { now: 0, finished: new Map() };
      this.#pools.set(pool, turns);
    }
    return turns;
  }

  #stepOf(requirements: LeaseRequirements, submitter: string): number {
    return costOf(requirements) / this.#weightOf(requirements.pool, submitter);
  }
}

/** What a lease costs its submitter: the cores that it takes, at least one. */
function costOf({ resources = {} }: LeaseRequirements): number {
  const cores = Object.entries(resources).find(([name]) => name.trim().toLowerCase() === 'cores');
  return Math.max(1, cores?.[1] ?? 1);
}

function poolKey({ pool = '' }: LeaseRequirements): string {
  return pool.trim().toLowerCase();
}

function forgetLeast(finished: Map<string, number>): void {
  const byTag = [...finished].sort(([, a], [, b]) => a - b);
  for (const [submitter] of byTag.slice(0, byTag.length - submittersMax / 2)) finished.delete(submitter);
}
