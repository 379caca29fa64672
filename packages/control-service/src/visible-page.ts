/** How a list is read of which a caller may see only some rows. */
export interface VisiblePageOptions<Row> {
  readonly limit: number;
  /** The last id of the page before. */
  readonly after: string | undefined;
  readonly fetch: (page: { readonly after?: string; readonly limit: number }) => Promise<readonly Row[]>;
  readonly idOf: (row: Row) => string;
  readonly isVisible: (row: Row) => boolean;
}

/** Pages of the store that one answer may look through. */
const pagesMax = 20;

/** A page of the rows that are visible, and behind which row the next one begins: absent on the last page. */
export async function visiblePage<Row>(
  options: VisiblePageOptions<Row>,
): Promise<{ readonly rows: readonly Row[]; readonly next?: string }> {
  const { limit, fetch, idOf, isVisible } = options;
  let { after } = options;
  const rows: Row[] = [];
  for (let pages = 0; pages < pagesMax; pages += 1) {
    const page = await fetch(after === undefined ? { limit } : { after, limit });
    for (const row of page) {
      after = idOf(row);
      if (isVisible(row)) rows.push(row);
      if (rows.length === limit) return { rows, next: after };
    }
    if (page.length < limit) return { rows };
  }
  return after === undefined ? { rows } : { rows, next: after };
}
