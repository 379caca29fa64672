import { homedir } from 'node:os';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { defineAppConfig, duration, loadAppConfig } from '@drover/app-config';
import { z } from 'zod';
import { defaultServerUrl } from '../command-context.ts';

const ccConfig = defineAppConfig({
  name: 'drover cc',
  envPrefix: 'DROVER_CC',
  schema: z.strictObject({
    server: z.string().default(defaultServerUrl).describe('The server whose scheduler knows the workers.'),
    ca: z.string().optional().describe('PEM file of the authority that signed its certificate.'),
    tenant: z.string().optional().describe('Whose workers; absent: those of the only tenant that you belong to.'),
    folder: z.string().optional().describe("The daemon's socket and token."),
    idle: duration().default(600_000).describe('How long the daemon stays without a compile.'),
    image: z
      .strictObject({
        digest: z
          .string()
          .regex(/^sha256:[0-9a-f]{64}$/, 'allowed is sha256: and 64 hexadecimal digits')
          .optional()
          .describe('The image with your compiler; absent: everything is compiled here.'),
        reference: z.string().optional().describe('Where a worker finds it that has not got it.'),
      })
      .prefault({}),
  }),
});

/** Reads ~/.config/drover/cc.toml and DROVER_CC_*. Throws `CONFIG_INVALID`. */
export function loadCcConfig(env: Readonly<Record<string, string | undefined>>) {
  const file = join(env['XDG_CONFIG_HOME'] || join(env['HOME'] || homedir(), '.config'), 'drover', 'cc.toml');
  const sources = { env, flags: {}, cwd: process.cwd(), ...(existsSync(file) ? { file } : {}) };
  return loadAppConfig(ccConfig, sources).value;
}

/** The daemon's folder, as the launcher finds it. */
export function ccFolder(env: Readonly<Record<string, string | undefined>>): string {
  const runtime = env['XDG_RUNTIME_DIR'];
  return (
    env['DROVER_CC_FOLDER'] || (runtime ? join(runtime, 'drover-cc') : `/tmp/drover-cc-${process.getuid?.() ?? 0}`)
  );
}
