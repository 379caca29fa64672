/** Binary multiples, as memory and disks of build machines are sized: 1kb is 1024. */
const multiples: Readonly<Record<string, number>> = { '': 1, kb: 2 ** 10, mb: 2 ** 20, gb: 2 ** 30, tb: 2 ** 40 };

const pattern = /^([+-]?\d{1,30}(?:\.\d{1,30})?)(kb|mb|gb|tb)?$/i;

/**
 * The number that a word means: an optional sign, digits, an optional fraction, and at once behind it an optional
 * `kb`, `mb`, `gb` or `tb` (binary multiples, without regard to case). Undefined for everything else.
 */
export function numericValue(text: string): number | undefined {
  const parts = pattern.exec(text);
  if (parts === null) return undefined;
  return Number(parts[1]) * (multiples[(parts[2] ?? '').toLowerCase()] ?? 1);
}
