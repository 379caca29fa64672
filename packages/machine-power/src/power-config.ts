import { z } from 'zod';

const units = { ms: 1, s: 1_000, min: 60_000, h: 3_600_000 } as const;

/** A duration as text, e.g. `90s`; the value is in milliseconds. */
function duration(maxMs: number) {
  return z.string().transform((text, context) => {
    const [, amount, unit] = /^(\d{1,12}(?:\.\d{1,6})?)\s?(ms|s|min|h)$/.exec(text) ?? [];
    const ms = Math.round(Number(amount) * (units[unit as keyof typeof units] ?? Number.NaN));
    if (ms >= 1 && ms <= maxMs) return ms;
    const message = `${JSON.stringify(text)} is not allowed; allowed is a number with ms, s, min or h, from 1ms to ${maxMs / units.h}h`;
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  });
}

/** The table of an operator for a lease type that takes the machine down. A change needs a restart of the agent. */
export const powerConfigSchema = z.strictObject({
  /** Program and arguments, without a shell. Absent: the platform's own command. Empty: this machine refuses. */
  command: z.array(z.string().min(1)).max(64).optional(),
  /** How long the command may take. Default `1min`. */
  command_limit: duration(3_600_000).default(60_000),
  /** How long the machine may take to go down after the command. Default `5min`. */
  down_within: duration(86_400_000).default(300_000),
});

/** {@link powerConfigSchema} as read. */
export type PowerConfig = z.infer<typeof powerConfigSchema>;
