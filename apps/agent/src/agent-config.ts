import { byteSize, defineAppConfig, duration, logConfig, secret } from '@drover/app-config';
import { DroverError, messageOf } from '@drover/lease-kit';
import { packageNamePattern } from '@drover/lease-type-loader';
import { parseBusyWindow } from '@drover/machine-care';
import { z } from 'zod';
import { herdConfig, isInHerd } from './herd-config.ts';

const freeMinPattern = /^\d{1,12}(?:\.\d{1,6})?\s?(?:b|kb|mb|gb|tb)$|^\d{1,2}(?:\.\d{1,6})?\s?%$/;

function checkBusyWindow(text: string, context: z.RefinementCtx): void {
  try {
    parseBusyWindow(text);
  } catch (error) {
    context.addIssue({ code: 'custom', message: messageOf(error) });
  }
}

/** Everything that an agent may be told, by file, environment (`DROVER_AGENT_…`) or flag. */
export const agentConfig = defineAppConfig({
  name: 'drover-agent',
  envPrefix: 'DROVER_AGENT',
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
    server: z
      .strictObject({
        urls: z
          .array(z.url({ protocol: /^https?$/, error: 'is no URL; allowed is http(s)://HOST:PORT' }))
          .max(16)
          .optional()
          .describe(
            'The servers to take leases from, one at a time; the next when one cannot be reached. Absent means ' +
              'http://127.0.0.1:7613, or none for an agent of the herd.',
          ),
        token: secret()
          .optional()
          .describe('The server’s bootstrap token: the agent acts by its name alone, without being enrolled.'),
        enrol: z
          .boolean()
          .optional()
          .describe(
            'Be enrolled, and wait for approval without an enrolment token. Absent means yes with such a token, and over ' +
              'https without server.token.',
          ),
        enrolment_token: secret().optional().describe('Registration token, needed until the agent is enrolled.'),
        tls_ca: z.string().optional().describe('PEM file of the authority that signed the server’s certificate.'),
        tls_cert: z.string().optional().describe('PEM file of the agent’s own certificate, where servers ask for one.'),
        tls_key: z.string().optional().describe('PEM file of its private key.'),
        plaintext: z.boolean().default(false).describe('Servers on other machines may be called without TLS.'),
      })
      .prefault({}),
    agent: z
      .strictObject({
        id: z
          .string()
          .regex(/^[\w.@:+-]{1,128}$/)
          .optional()
          .describe('Stable and unique in the fleet. Absent means one that is made once and kept in state.dir.'),
        name: z.string().max(128).optional().describe('For people; absent means the host name.'),
        pools: z.array(z.string()).default([]).describe('Pools to be in.'),
        properties: z
          .array(z.string().regex(/^[^=]+=/))
          .default([])
          .describe('Properties as KEY=VALUE beside those of the machine; a key may repeat.'),
        ephemeral: z
          .boolean()
          .default(false)
          .describe('Take one lease, then leave and be forgotten by the server, for machines that are made for it.'),
        boot_id_file: z
          .string()
          .optional()
          .describe('File of a boot id that is new after every start, e.g. of a container; absent: the platform’s.'),
        leases_max: z.int().min(1).max(4_096).default(256).describe('Most attempts at once.'),
      })
      .prefault({}),
    resources: z
      .strictObject({
        cores: z.int().min(1).optional().describe('Cores to lease; absent means all of the machine.'),
        ram: byteSize().optional().describe('Memory to lease; absent means all of the machine.'),
        custom: z
          .array(
            z
              .string()
              .regex(
                /^[a-z][a-z0-9_.-]{0,63}=\d{1,15}$/,
                'is no NAME=COUNT; allowed is a name of lower-case letters, digits, "_", "-" and ".", and a whole number from 0',
              ),
          )
          .max(32)
          .default([])
          .describe('Counted resources beside cores and ram, as NAME=COUNT, e.g. licence=2.'),
      })
      .prefault({}),
    facts: z
      .strictObject({
        file: z
          .string()
          .optional()
          .describe('File of KEY=VALUE lines: properties beside, and in place of, those of the machine; read again.'),
        interval: duration()
          .default(60_000)
          .describe('How often the facts of the machine are read again; SIGHUP does so at once.'),
      })
      .prefault({}),
    state: z
      .strictObject({
        dir: z.string().default('.drover/agent').describe('Folder of the journal, the logs and the work.'),
      })
      .prefault({}),
    workspaces: z
      .strictObject({
        root: z
          .string()
          .optional()
          .describe(
            'Folder of the long-lived workspaces; absent means a folder of state.dir. Steps see DROVER_WORKSPACES.',
          ),
        transports: z
          .array(z.enum(['https', 'http', 'ssh', 'git', 'file']))
          .min(1)
          .max(5)
          .default(['https', 'ssh', 'file'])
          .describe('How their git repositories may be reached; file is any path of this machine.'),
      })
      .prefault({}),
    upgrade: z
      .strictObject({
        channel: z
          .string()
          .regex(
            /^[a-z][a-z0-9-]{0,31}$/,
            'is no channel; allowed are lower-case letters, digits and dashes, at most 32',
          )
          .default('stable')
          .describe('The channel whose version this agent follows.'),
        keys: z
          .array(
            z
              .string()
              .regex(/^ed25519:/, 'is no public key; allowed is ed25519:BASE64, as drover bundles keygen prints it'),
          )
          .max(16)
          .default([])
          .describe('Public keys, one of which must have signed a bundle. Absent means that no upgrade is taken.'),
        downgrade: z
          .enum(['asked', 'never'])
          .default('asked')
          .describe('Whether an older version may follow: when an operator asks for it, or never.'),
      })
      .prefault({}),
    supervisor: z
      .strictObject({
        home: z.string().optional().describe('Folder of the supervisor. drover-supervisor sets it.'),
        start: z
          .string()
          .optional()
          .describe('Which start of the supervisor this process is. drover-supervisor sets it.'),
      })
      .prefault({}),
    disk: z
      .strictObject({
        free_min: z
          .string()
          .regex(
            freeMinPattern,
            'is no amount; allowed is a number with b, kb, mb, gb, tb, or with % of the disk, e.g. "1gb" or "5%"',
          )
          .default('256mb')
          .describe('With less than this free on the disk of state.dir, the agent is unhealthy and takes no leases.'),
        folders: z
          .array(z.string().min(1))
          .max(16)
          .default([])
          .describe('Further folders whose disks need as much, e.g. /tmp.'),
        interval: duration().default(10_000).describe('How often disks are looked at.'),
      })
      .prefault({}),
    cleanup: z
      .strictObject({
        interval: duration()
          .default(3_600_000)
          .describe('How often what nobody needs is removed: at the start, and then so often.'),
        age_max: duration()
          .default(1_209_600_000)
          .describe(
            'Mirrors of repositories, records, files of herd jobs and entries of cleanup.folders go when unused for so long.',
          ),
        cache_size_max: byteSize()
          .default(21_474_836_480)
          .describe('Most bytes of mirrors of repositories; beyond, the least recently used go.'),
        folders: z
          .array(z.string().min(1))
          .max(16)
          .default([])
          .describe('Further folders to keep clean, of logs or caches: what stands in them goes by age and size.'),
        folders_size_max: byteSize().default(21_474_836_480).describe('Most bytes of each of cleanup.folders.'),
      })
      .prefault({}),
    busy: z
      .strictObject({
        windows: z
          .array(z.string().superRefine(checkBusyWindow))
          .max(64)
          .default([])
          .describe('When the machine is not for leases, by local time: "mon-fri 08:00-18:00".'),
      })
      .prefault({}),
    idle: z
      .strictObject({
        enabled: z.boolean().default(false).describe('Be busy while a person uses this machine: for workstations.'),
        after: duration().default(900_000).describe('How long nobody must have used it before it takes leases again.'),
        load_max: z
          .number()
          .min(1)
          .max(100)
          .optional()
          .describe('Busy too while programs of others take more than so many % of the cores; absent: never.'),
      })
      .prefault({}),
    herd: herdConfig(),
    health: z
      .strictObject({
        host: z.string().default('127.0.0.1').describe('Address of /healthz and /readyz.'),
        port: z.int().min(0).max(65_535).optional().describe('TCP port of /healthz and /readyz; absent means none.'),
        tls_cert: z.string().optional().describe('PEM file of the certificate chain, read again when it changes.'),
        tls_key: z.string().optional().describe('PEM file of the private key, read again when it changes.'),
        plaintext: z.boolean().default(false).describe('Other machines may look without TLS.'),
      })
      .prefault({}),
    stop: z
      .strictObject({
        grace: duration().default(86_400_000).describe('How long a drain may take before what runs is cancelled.'),
      })
      .prefault({}),
    log: logConfig(),
  }),
});

/** An agent's configuration as read. */
export type AgentConfig = z.infer<typeof agentConfig.schema>;

/** The servers that a configuration names; none for an agent of the herd alone. Throws `CONFIG_INVALID` for an agent of neither. */
export function serverUrlsOf({ server, herd }: Pick<AgentConfig, 'server' | 'herd'>): readonly string[] {
  const urls = server.urls ?? (isInHerd(herd) ? [] : ['http://127.0.0.1:7613']);
  if (urls.length > 0 || isInHerd(herd)) return urls;
  throw new DroverError({
    code: 'CONFIG_INVALID',
    advice: 'fix-input',
    message:
      'server.urls names no server, and neither herd.enabled nor herd.legacy.enabled is true: the agent would have nothing to do',
  });
}
