import { z } from 'zod';

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const durationPart = /(\d{1,12}(?:\.\d{1,6})?)(ms|s|min|m|h|d)/g;
const sizePattern = /^(\d{1,12}(?:\.\d{1,6})?)\s?([kmgt]?)(i?b?)$/i;
const sizeSteps = ['', 'k', 'm', 'g', 't'];

/**
 * A duration as worker.toml has them: `"10m"`, `"1h30m"`, or with Drover's own `min` and `d`. Empty or zero: 0,
 * what it bounds is disabled.
 */
export function optionalDuration() {
  return z
    .string()
    .transform((text, context) => {
      const written = text.replaceAll(' ', '');
      if (written === '') return 0;
      const parts = [...written.matchAll(durationPart)];
      if (parts.map(([part]) => part).join('') === written) {
        return Math.round(parts.reduce((sum, [, count, unit]) => sum + Number(count) * durationUnits[unit!]!, 0));
      }
      context.addIssue({
        code: 'custom',
        message: `is no duration: ${JSON.stringify(text)}; allowed are numbers with ms, s, m, min, h, d, e.g. "10m" or "1h30m"; "" disables it`,
      });
      return z.NEVER;
    })
    .meta({ quantity: 'duration' });
}

/** The same, where there must be one. */
export function requiredDuration() {
  return optionalDuration()
    .refine((ms) => ms > 0, { error: 'is empty or zero; allowed is a duration, e.g. "10m"' })
    .meta({ quantity: 'duration' });
}

/** A size as worker.toml has them: `"2GB"`, `"512MiB"`, in any case; all are binary multiples. */
export function memorySize() {
  return z
    .string()
    .transform((text, context) => {
      const [, count, step] = sizePattern.exec(text.trim()) ?? [];
      const bytes = Math.round(Number(count ?? Number.NaN) * 1_024 ** sizeSteps.indexOf((step ?? '').toLowerCase()));
      if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
      context.addIssue({
        code: 'custom',
        message: `is no size: ${JSON.stringify(text)}; allowed is a number above 0 with kb, mb, gb, tb, e.g. "2GB"`,
      });
      return z.NEVER;
    })
    .meta({ quantity: 'size' });
}
