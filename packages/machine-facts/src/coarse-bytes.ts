/**
 * An amount in coarse steps, each an eighth of a power of two, rounded down: what is told of free space, so that it is told
 * anew only when it has changed much. With `before`, the step that was told stays while the amount is at most a quarter of a
 * step outside of it, so that an amount near a border does not go to and fro.
 */
export function coarseBytes(bytes: number, before?: number): number {
  if (before !== undefined) {
    const step = stepOf(before);
    if (bytes >= before - step / 4 && bytes < before + step + step / 4) return before;
  }
  return Math.floor(bytes / stepOf(bytes)) * stepOf(bytes);
}

function stepOf(bytes: number): number {
  return Math.max(1, 2 ** (Math.floor(Math.log2(Math.max(1, bytes))) - 3));
}
