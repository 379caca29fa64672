/** Keys of the rows of docs/LIMITS.md that allow a skip: the first cell of a table row, in backquotes. */
export function limitsKeys(markdown: string): Set<string> {
  return new Set([...markdown.matchAll(/^\| `([a-z0-9-]+)` +\|/gm)].map((match) => match[1]!));
}

/** The key that the name of a skipped test carries, as in `kills the group [limits:needs-cgroup]`; the innermost counts. */
export function limitsKeyOf(testName: string): string | undefined {
  return [...testName.matchAll(/\[limits:([a-z0-9-]+)\]/g)].at(-1)?.[1];
}
