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
        tls_cert: z.string().optional().describe('PEM file of the certificate chain, read again when it changes.'),
        tls_key: z.string().optional().describe('PEM file of the private key, read again when it changes.'),
        client_ca: z
          .string()
          .optional()
          .describe('PEM file of the authorities of clients’ certificates; absent means that none are asked for.'),
        client_certificates: z
          .enum(['required', 'optional'])
          .default('required')
          .describe('With listen.client_ca: whether there is a connection without one.'),
        plaintext: z
          .boolean()
          .default(false)
          .describe('Other machines may call without TLS, e.g. behind a proxy that has it.'),
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
    enrolment: z
      .strictObject({
        required: z
          .boolean()
          .default(false)
          .describe('Agents must be enrolled, also in development and with the bootstrap token.'),
        anonymous: z
          .boolean()
          .default(true)
          .describe('Machines without a registration token wait for approval; otherwise they are refused.'),
        credential_lifetime: duration({ minMs: 1_000, maxMs: 30 * 86_400_000 })
          .default(3_600_000)
          .describe('How long an agent’s credential is valid; it is renewed in time.'),
        key_lifetime: duration({ minMs: 60_000, maxMs: 3_650 * 86_400_000 })
          .default(30 * 86_400_000)
          .describe('How long one key of the fleet signs credentials.'),
        seal_secret: secret({ lengthMin: 16 })
          .optional()
          .describe(
            'Seals those keys in the database, the same on every server; absent means that they are open there.',
          ),
        authorities: z
          .array(z.string())
          .max(16)
          .default([])
          .describe(
            'HOST:PORT by which agents call servers; a proof for any other is refused. Absent means as each call says.',
          ),
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
    secrets: z
      .strictObject({
        key_file: z
          .string()
          .optional()
          .describe(
            'File of the keys that seal secrets of jobs: 32 random bytes as base64, one a line, the first one seals. One for all ' +
              'servers of a fleet. Absent means one that is made in state.dir, for the embedded Postgres alone.',
          ),
      })
      .prefault({}),
    metrics: z
      .strictObject({
        host: z.string().default('127.0.0.1').describe('Address on which metrics are served, to whoever can connect.'),
        port: z
          .int()
          .min(0)
          .max(65_535)
          .optional()
          .describe('TCP port of GET /metrics, for Prometheus; 0 lets the system choose. Absent: none are kept.'),
        plaintext: z
          .boolean()
          .default(false)
          .describe('Other machines may read them without TLS. Otherwise they need listen.tls_cert.'),
      })
      .prefault({}),
    sessions: z
      .strictObject({
        heartbeat: duration().default(20_000).describe('How long an agent may be silent before it sends a heartbeat.'),
        timeout: duration().default(60_000).describe('How long after its last message an agent’s session ends.'),
        takeover_grace: duration().default(60_000).describe('How long agents of a dead server have to reach another.'),
      })
      .prefault({}),
    health: z
      .strictObject({
        enabled: z
          .boolean()
          .default(true)
          .describe('Agents that fail leases which succeed elsewhere are suspected, tried and quarantined.'),
        interval: duration({ minMs: 100, maxMs: 3_600_000 })
          .default(15_000)
          .describe('How often one of the servers looks at how leases ended.'),
        quarantine_max: z
          .string()
          .regex(
            /^(\d{1,6}|(100|\d{1,2})%)$/,
            'is no cap; allowed are a share of each pool such as "25%" and a number of agents such as "3"',
          )
          .default('25%')
          .describe(
            'The most agents of each pool, and of the fleet, that are kept from work; of a share at least one; 0 means none.',
          ),
        canary: z
          .strictObject({
            exe: z
              .string()
              .optional()
              .describe(
                'What a suspected agent must run: a path, or a name on its PATH. Absent means that it writes a file and gives it back.',
              ),
            arguments: z.array(z.string()).max(256).default([]).describe('Arguments of health.canary.exe.'),
            timeout: duration({ minMs: 1_000, maxMs: 86_400_000 })
              .default(300_000)
              .describe('How long a canary may run.'),
            retry: z
              .array(duration({ minMs: 1_000, maxMs: 31 * 86_400_000 }))
              .min(1)
              .max(20)
              .default([600_000, 3_600_000, 6 * 3_600_000])
              .describe('Waits before the next canaries of a quarantined agent; the last one repeats.'),
          })
          .prefault({}),
      })
      .prefault({}),
    compile: z
      .strictObject({
        worker_token: secret({ lengthMin: 16 })
          .optional()
          .describe('What workers of the compile farm sign in with, 16 characters at least. Absent: there are none.'),
        token_lifetime: duration({ minMs: 10_000, maxMs: 3_600_000 })
          .default(120_000)
          .describe('How long a task token, which is good for one compile, is valid.'),
        session_lifetime: duration({ minMs: 60_000, maxMs: 86_400_000 })
          .default(600_000)
          .describe('How long a worker’s session lasts without a heartbeat.'),
        key_lifetime: duration({ minMs: 120_000, maxMs: 3_650 * 86_400_000 })
          .default(86_400_000)
          .describe('How long one key signs task tokens. enrolment.seal_secret seals these keys too.'),
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
