/**
 * Literals of SQL arrays. `pg` would quote and escape every element of an array, which for numbers and UUIDs is most of the
 * time that a large call takes here, and more to parse there.
 */

/** An array of numbers, UUIDs or booleans: elements that never need quotes. */
export function plainArray(items: readonly (string | number | boolean | null | undefined)[]): string {
  let literal = '{';
  for (let index = 0; index < items.length; index += 1) {
    if (index > 0) literal += ',';
    literal += items[index] ?? 'NULL';
  }
  return `${literal}}`;
}

const needsEscape = /["\\]/;

/** An array of any texts. */
export function textArray(items: readonly (string | null | undefined)[]): string {
  let literal = '{';
  for (let index = 0; index < items.length; index += 1) {
    if (index > 0) literal += ',';
    const item = items[index];
    if (item === null || item === undefined) literal += 'NULL';
    else literal += `"${needsEscape.test(item) ? item.replaceAll(/["\\]/g, '\\$&') : item}"`;
  }
  return `${literal}}`;
}
