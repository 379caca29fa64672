/**
 * What a revision is compared for, wherever a world holds one.
 * - `lists`: a list, or a line of it, is as new as this. What is acknowledged or applied is compared with it.
 * - `flies`: the revision of a copy on its way: compared with what its receiver has applied.
 * - `applied`: compared with copies on their way, and later acknowledged.
 * - `acknowledges`: compared with what lists.
 */
export type RevisionUse = 'lists' | 'flies' | 'applied' | 'acknowledges';

/** Replaces one end's revisions in a row of bytes by ranks, so that rows that compare alike are alike. */
export interface Ranking {
  /** The byte at `position` is a revision. */
  readonly note: (position: number, use: RevisionUse) => void;
  readonly clear: () => void;
  readonly rank: () => void;
}

/** Revisions of the model stay below this. */
export const rankMax = 64;

/** A ranking of bytes of `row`. */
export function createRanking(row: Uint8Array): Ranking {
  const positions: Record<RevisionUse, number[]> = { lists: [], flies: [], applied: [], acknowledges: [] };
  const ranks = new Uint8Array(rankMax);
  const lists = new Uint8Array(rankMax);

  function rank(): void {
    ranks.fill(0);
    lists.fill(0);
    // Nothing yet and something are told apart everywhere.
    ranks[1] = 1;
    for (const position of positions.lists) {
      ranks[row[position]!] = 1;
      lists[row[position]!] = 1;
    }
    for (const position of positions.flies) ranks[row[position]!] = 1;
    ranks[0] = 0;
    lists[0] = 0;
    // A revision that is only compared is as good as the greatest smaller one that it is compared with.
    for (let value = 1; value < rankMax; value += 1) {
      ranks[value]! += ranks[value - 1]!;
      lists[value] = lists[value] === 1 ? ranks[value]! : lists[value - 1]!;
    }
    for (const position of positions.lists) row[position] = ranks[row[position]!]!;
    for (const position of positions.flies) row[position] = ranks[row[position]!]!;
    for (const position of positions.applied) row[position] = ranks[row[position]!]!;
    for (const position of positions.acknowledges) row[position] = lists[row[position]!]!;
  }

  return {
    note: (position, use) => positions[use].push(position),
    clear: () => {
      positions.lists.length = 0;
      positions.flies.length = 0;
      positions.applied.length = 0;
      positions.acknowledges.length = 0;
    },
    rank,
  };
}
