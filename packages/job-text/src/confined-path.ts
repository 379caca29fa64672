/** A path that stays in its folder, or why it does not. */
export type ConfinedPath =
  | { readonly ok: true; /** With '/' between names; `.` for the folder itself. */ readonly path: string }
  | { readonly ok: false; readonly message: string };

/**
 * Reads a path that must stay in its folder: relative, with '/' between names, without `..` beyond the top. It judges
 * the text alone; symbolic links are judged where files are touched. `isPlain`: a backslash and a drive's letter are characters
 * like others, as Linux has them. Default false.
 */
export function confinedPath(value: string, isPlain = false): ConfinedPath {
  const refuse = (why: string): ConfinedPath => ({
    ok: false,
    message: `${JSON.stringify(value)} ${why}; allowed are relative paths that stay in the folder (PATH_ESCAPES)`,
  });
  if (value === '') return refuse('is empty');
  if (value.includes('\0')) return refuse('holds a NUL character');
  if (!isPlain && value.includes('\\')) return refuse("holds a backslash: write '/' between names");
  if (value.startsWith('/') || (!isPlain && /^[A-Za-z]:/.test(value))) return refuse('is absolute');
  const names: string[] = [];
  for (const part of value.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') names.push(part);
    else if (names.pop() === undefined) return refuse('leaves its folder');
  }
  return { ok: true, path: names.join('/') || '.' };
}
