import { z } from 'zod';

/**
 * The `log` section of an app's schema: `level` (default `info`) and `format` (default `auto`). Absent means both defaults.
 * Its value is what telemetry's `createLogger` takes.
 */
export function logConfig() {
  return z
    .strictObject({
      level: z
        .enum(['debug', 'info', 'warn', 'error'])
        .default('info')
        .describe('The least important lines that are written.'),
      format: z.enum(['json', 'pretty', 'auto']).default('auto').describe('auto: pretty on a terminal.'),
    })
    .prefault({});
}
