import { z } from 'zod';

const durationUnits = { ms: 1, s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const sizeUnits = { b: 1, kb: 2 ** 10, mb: 2 ** 20, gb: 2 ** 30, tb: 2 ** 40 } as const;

function quantity(units: Readonly<Record<string, number>>, what: string, example: string) {
  const names = Object.keys(units);
  const pattern = new RegExp(`^(\\d{1,12}(?:\\.\\d{1,6})?)\\s?(${names.join('|')})$`);
  return z.string().transform((text, context) => {
    const parts = pattern.exec(text);
    if (parts) return Math.round(Number(parts[1]) * (units[parts[2] ?? ''] ?? 1));
    context.addIssue({
      code: 'custom',
      message: `is no ${what}; allowed is a number with ${names.join(', ')}, e.g. "${example}"`,
    });
    return z.NEVER;
  });
}

/** A duration such as `"30s"` or `"5min"`; the value is in milliseconds, from `minMs` (default 0) to `maxMs` (default any). */
export function duration({ minMs = 0, maxMs = Infinity }: { readonly minMs?: number; readonly maxMs?: number } = {}) {
  const least = quantityText('duration', minMs);
  const range = maxMs === Infinity ? `at least ${least}` : `${least} to ${quantityText('duration', maxMs)}`;
  return quantity(durationUnits, 'duration', '30s')
    .refine((ms) => ms >= minMs && ms <= maxMs, {
      error: `is out of range; allowed is ${range}`,
    })
    .meta({ quantity: 'duration' });
}

/** A size such as `"512mb"`, in binary multiples; the value is in bytes. */
export function byteSize() {
  return quantity(sizeUnits, 'size', '512mb').meta({ quantity: 'size' });
}

/** Text that is never printed, `lengthMin` (default 1) characters at least. */
export function secret({ lengthMin = 1 }: { readonly lengthMin?: number } = {}) {
  // Last, for what is said of a schema is not said of one that is made from it.
  return z.string().min(lengthMin).meta({ secret: true });
}

function text(value: number, units: Readonly<Record<string, number>>): string {
  const [name, size] = Object.entries(units).findLast(([, unit]) => value >= unit && value % unit === 0) ?? [
    Object.keys(units)[0] ?? '',
    1,
  ];
  return `${value / size}${name}`;
}

/** A value of {@link duration} or {@link byteSize} as it would be written. */
export function quantityText(kind: 'duration' | 'size', value: number): string {
  return text(value, kind === 'duration' ? durationUnits : sizeUnits);
}
