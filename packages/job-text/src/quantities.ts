import { z } from 'zod';

const durationUnits = { ms: 1, s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const sizeUnits = { b: 1, kb: 2 ** 10, mb: 2 ** 20, gb: 2 ** 30, tb: 2 ** 40 } as const;

function quantity(units: Readonly<Record<string, number>>, what: string, example: string) {
  const names = Object.keys(units).join('|');
  const pattern = new RegExp(`^\\d{1,12}(\\.\\d{1,6})?\\s?(${names})$`);
  return z
    .string()
    .regex(pattern, `is no ${what}; allowed is a number with one of ${names.replaceAll('|', ', ')}, e.g. ${example}`)
    .meta({ description: `A ${what}, e.g. ${example}` });
}

/** A duration in a job file, e.g. `90s`, `5min`, `2h`. */
export const durationText = quantity(durationUnits, 'duration', '5min');

/** A size in a job file in binary multiples, e.g. `512mb`, `2gb`. */
export const sizeText = quantity(sizeUnits, 'size', '512mb');

function amount(text: string, units: Readonly<Record<string, number>>): number {
  const unit = /[a-z]+$/.exec(text)?.[0] ?? '';
  return Math.round(Number.parseFloat(text) * (units[unit] ?? 1));
}

/** Milliseconds of a {@link durationText}. */
export function durationMs(text: string): number {
  return amount(text, durationUnits);
}

/** Bytes of a {@link sizeText}. */
export function sizeBytes(text: string): number {
  return amount(text, sizeUnits);
}
