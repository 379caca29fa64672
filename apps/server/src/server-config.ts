import { byteSize, defineAppConfig, duration, logConfig, secret } from '@drover/app-config';
import { packageNamePattern } from '@drover/lease-type-loader';
import { z } from 'zod';
import { oidcConfig } from './oidc-config.ts';

/** Everything that a server may be told, by file, environment (`DROVER_SERVER_…`) or flag. */
export const serverConfig = defineAppConfig({
  name: 'drover-server',
  envPrefix: 'DROVER_SERVER',
  aliases: { DATABASE_URL: 'postgres.url' },
  schema: z.strictObject({
    lease_types: z
      .array(
        z.string().regex(packageNamePattern, 'is no name of a package; allowed is e.g. @acme/lease-type-render-frame'),
      )
      .max(64)
      .default([])
      .describe('Packages of further lease types, installed by npm beside the app or at the working directory.'),
    lease_type: z
      .record(z.string(), z.record(z.string(), z.unknown()))
      .default({})
      .describe(
        'Configuration of lease types by the name of their package: [lease_type."@acme/lease-type-render-frame"].',
      ),
    listen: z
      .strictObject({
        host: z.string().default('127.0.0.1').describe('Address to listen on.'),
        port: z.int().min(0).max(65_535).default(7613).describe('TCP port; 0 lets the system choose.'),
        tls_cert: z.string().optional().describe('PEM file of the certificate chain. Absent means cleartext.'),
        tls_key: z.string().optional().describe('PEM file of the private key.'),
      })
      .prefault({}),
    access: z
      .strictObject({
        token: secret({ lengthMin: 16 })
          .optional()
          .describe('The bootstrap token, 16 characters at least: who shows it is an admin. Absent means none.'),
        development: z
          .boolean()
          .default(false)
          .describe('Everybody who reaches the server is an admin. Only on loopback, for development.'),
        oidc: oidcConfig,
      })
      .prefault({}),
    postgres: z
      .strictObject({
        url: secret()
          .optional()
          .describe('Of the Postgres to use; DATABASE_URL sets it too. Absent means the embedded one.'),
        connections: z.int().min(2).max(200).default(12).describe('Most connections of this server.'),
      })
      .prefault({}),
    state: z
      .strictObject({
        dir: z.string().default('.drover/server').describe('Folder of the embedded Postgres and of the blobs.'),
      })
      .prefault({}),
    content: z
      .strictObject({
        dir: z
          .string()
          .optional()
          .describe('Folder of the blobs, one for all servers of a fleet; absent means a folder of state.dir.'),
        size_max: byteSize()
          .default(20 * 2 ** 30)
          .describe('Most bytes of blobs; what was used least recently goes.'),
      })
      .prefault({}),
    sessions: z
      .strictObject({
        heartbeat: duration().default(20_000).describe('How long an agent may be silent before it sends a heartbeat.'),
        timeout: duration().default(60_000).describe('How long after its last message an agent’s session ends.'),
        takeover_grace: duration().default(60_000).describe('How long agents of a dead server have to reach another.'),
      })
      .prefault({}),
    stop: z
      .strictObject({
        grace: duration().default(10_000).describe('How long open calls may take when the server stops.'),
      })
      .prefault({}),
    log: logConfig(),
  }),
});

/** A server's configuration as read. */
export type ServerConfig = z.infer<typeof serverConfig.schema>;
