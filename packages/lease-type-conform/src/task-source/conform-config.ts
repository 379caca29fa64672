import { z } from 'zod';

const units = { ms: 1, s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** A duration as text, e.g. `6h`; the value is in milliseconds. */
function duration(minMs: number, maxMs: number) {
  return z.string().transform((text, context) => {
    const [, amount, unit] = /^(\d{1,9}(?:\.\d{1,3})?)\s?(ms|s|min|h|d)$/.exec(text) ?? [];
    const ms = Math.round(Number(amount) * (units[unit as keyof typeof units] ?? Number.NaN));
    if (ms >= minMs && ms <= maxMs) return ms;
    const allowed = `a number with ms, s, min, h or d, from ${minMs}ms to ${maxMs / units.d}d`;
    context.addIssue({ code: 'custom', message: `${JSON.stringify(text)} is not allowed; allowed is ${allowed}` });
    return z.NEVER;
  });
}

/** The table of an operator for conforming: `[lease_type."@drover/lease-type-conform"]` of a server, the same on every one. */
export const conformConfigSchema = z.strictObject({
  /** How long after a success an agent conforms again. Absent: only when it is asked to, or its workspaces change. */
  interval: duration(1_000, 31 * units.d).optional(),
  /** Waits after the first failure in a row, the second and so on; the last one repeats. */
  backoff: z
    .array(duration(1, 31 * units.d))
    .min(1)
    .max(20)
    .default([5 * units.min, 20 * units.min, units.h, 6 * units.h]),
  /** Most agents that are drained for it or at it at once, of all servers. */
  at_once: z.int().min(1).max(100_000).default(4),
  /** Agents remove workspaces that they kept and no longer are to keep. */
  remove_others: z.boolean().default(false),
  /** How often a server looks which agents are to conform, besides being told of changes. */
  poll: duration(100, units.h).default(15_000),
});

/** {@link conformConfigSchema} as read. */
export type ConformConfig = z.infer<typeof conformConfigSchema>;
