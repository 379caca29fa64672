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

const uses: readonly RevisionUse[] = ['lists', 'flies', 'applied', 'acknowledges'];

/** A ranking of bytes of `row`. */
export function createRanking(row: Uint8Array): Ranking {
  const positions = new Uint8Array(row.length);
  const notedUses = new Uint8Array(row.length);
  const ranks = new Uint8Array(rankMax);
  const lists = new Uint8Array(rankMax);
  let noted = 0;

  function rank(): void {
    let max = 1;
    for (let n = 0; n < noted; n += 1) max = Math.max(max, row[positions[n]!]!);
    ranks.fill(0, 0, max + 1);
    lists.fill(0, 0, max + 1);
    for (let n = 0; n < noted; n += 1) {
      const value = row[positions[n]!]!;
      const use = notedUses[n]!;
      if (use <= 1) ranks[value] = 1;
      if (use === 0) lists[value] = 1;
    }
    ranks[0] = 0;
    lists[0] = 0;
    // A revision that is only compared is as good as the greatest smaller one that it is compared with. Ranks begin at 2,
    // so that something older than everything else is still told apart from nothing.
    let next = 1;
    for (let value = 1; value <= max; value += 1) {
      if (ranks[value] === 1) next += 1;
      ranks[value] = next;
      lists[value] = lists[value] === 1 ? next : lists[value - 1]!;
    }
    for (let n = 0; n < noted; n += 1) {
      const position = positions[n]!;
      row[position] = (notedUses[n] === 3 ? lists : ranks)[row[position]!]!;
    }
  }

  return {
    note: (position, use) => {
      positions[noted] = position;
      notedUses[noted++] = uses.indexOf(use);
    },
    clear: () => {
      noted = 0;
    },
    rank,
  };
}
