/**
 * Where keys stand in a TOML text, by their dotted names: tables, dotted keys and keys of tables. Keys inside multi-line
 * strings may be taken for keys; that only makes a message point to the wrong line.
 */
export function tomlLines(text: string): ReadonlyMap<string, number> {
  const lines = new Map<string, number>();
  let table = '';
  for (const [index, line] of text.split('\n').entries()) {
    const header = /^\s*\[\[?\s*([^\]]+?)\s*\]\]?/.exec(line)?.[1];
    const key = /^\s*([\w."'-]+)\s*=/.exec(line)?.[1];
    const name = header ?? key;
    if (name === undefined) continue;
    const plain = name.replaceAll(/["'\s]/g, '');
    if (header !== undefined) table = `${plain}.`;
    const full = header !== undefined ? plain : table + plain;
    if (!lines.has(full)) lines.set(full, index + 1);
  }
  return lines;
}
