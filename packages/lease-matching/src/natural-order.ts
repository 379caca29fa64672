const runs = /\d+|\D+/g;

/**
 * Orders two texts as people order versions: without regard to case, runs of digits by their number, everything else
 * by code unit, so that `1.9` stands before `1.10` and `win7` before `win10`. Negative if `left` comes first, 0 if equal.
 */
export function naturalOrder(left: string, right: string): number {
  const a = left.toLowerCase().match(runs) ?? [];
  const b = right.toLowerCase().match(runs) ?? [];
  for (let index = 0; index < Math.min(a.length, b.length); index++) {
    const order = compareRuns(a[index] ?? '', b[index] ?? '');
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

function compareRuns(left: string, right: string): number {
  if (isDigit(left) && isDigit(right)) {
    // By length, then by text: a number of any size, exactly, without a conversion that would round.
    const a = left.replace(/^0+/, '');
    const b = right.replace(/^0+/, '');
    if (a.length !== b.length) return a.length - b.length;
    return a < b ? -1 : a > b ? 1 : 0;
  }
  return left < right ? -1 : left > right ? 1 : 0;
}

function isDigit(run: string): boolean {
  const code = run.charCodeAt(0);
  return code >= 48 && code <= 57;
}
