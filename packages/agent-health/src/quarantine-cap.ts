/** The most agents of one pool that are kept from work: a number, or a share of the pool from 0 to 1. */
export type QuarantineMax =
  { readonly kind: 'count'; readonly count: number } | { readonly kind: 'share'; readonly share: number };

/** Stands for all agents together, as if they were one pool. */
export const wholeFleetPool = '*';

/**
 * The caps of an agent by pool, the fleet as a whole among them. A share is rounded down, but to no less than one agent
 * unless it is 0: small pools are to be rid of a bad machine too. A pool of one agent has no cap of its own, since it is
 * often the name of a machine; a fleet of one agent has the cap 0.
 */
export function quarantineCaps(
  pools: readonly string[],
  membersOf: (pool: string) => number,
  max: QuarantineMax,
): readonly { readonly pool: string; readonly max: number }[] {
  const capped = pools
    .filter((pool) => membersOf(pool) > 1)
    .map((pool) => ({ pool, max: capOf(membersOf(pool), max) }));
  const fleet = membersOf(wholeFleetPool);
  return [...capped, { pool: wholeFleetPool, max: fleet > 1 ? capOf(fleet, max) : 0 }];
}

function capOf(members: number, max: QuarantineMax): number {
  if (max.kind === 'count') return Math.min(max.count, members - 1);
  return max.share === 0 ? 0 : Math.max(1, Math.min(members - 1, Math.floor(members * max.share)));
}
