import { z } from 'zod';
import { byteSize, duration } from './config-quantities.ts';

/** The `log` section of an app's schema; absent means the defaults. {@link logOptions} makes of it what telemetry takes. */
export function logConfig() {
  return z
    .strictObject({
      level: z
        .enum(['debug', 'info', 'warn', 'error'])
        .default('info')
        .describe('The least important lines that are written.'),
      format: z.enum(['json', 'pretty', 'auto']).default('auto').describe('auto: pretty on a terminal.'),
      file: z
        .string()
        .min(1)
        .optional()
        .describe(
          'File for the lines instead of standard error, which a service manager keeps. Opened anew at SIGHUP.',
        ),
      file_size_max: byteSize()
        .refine((bytes) => bytes >= 2 ** 10, { error: 'is out of range; allowed is 1kb or more' })
        .meta({ quantity: 'size' })
        .default(67_108_864)
        .describe('A log file of this size is followed by another.'),
      file_age_max: duration({ minMs: 60_000 })
        .default(86_400_000)
        .describe('A log file whose first line is this old is followed by another.'),
      files_max: z.int().min(1).max(1_000).default(14).describe('Log files that are done and kept; the oldest go.'),
    })
    .prefault({});
}

/** What telemetry's `createLogger` takes of a `log` section. */
export function logOptions({
  level,
  format,
  file: path,
  file_size_max: sizeBytesMax,
  file_age_max: ageMsMax,
  files_max: countMax,
}: z.infer<ReturnType<typeof logConfig>>) {
  return { level, format, ...(path === undefined ? {} : { file: { path, sizeBytesMax, ageMsMax, countMax } }) };
}
