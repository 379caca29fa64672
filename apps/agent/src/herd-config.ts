import { byteSize, duration } from '@drover/app-config';
import { parseNetworks } from '@drover/herd-pairing/agent';
import { messageOf } from '@drover/lease-kit';
import { z } from 'zod';

const dayMs = 86_400_000;

/** A list of networks, each checked. */
export function networkList() {
  return z
    .array(
      z.string().superRefine((network, context) => {
        try {
          parseNetworks([network]);
        } catch (error) {
          context.addIssue({ code: 'custom', message: messageOf(error) });
        }
      }),
    )
    .max(256);
}

/** `[herd.legacy]`: jobs of programs that speak the original Herd protocol. */
function legacyConfig() {
  return z
    .strictObject({
      enabled: z
        .boolean()
        .default(false)
        .describe('Take jobs of original Herd clients, which have no identity, from herd.legacy.networks.'),
      networks: networkList()
        .default([])
        .describe('Networks, e.g. 192.168.0.0/24, from which anybody may run anything here by the original protocol.'),
      host: z.string().default('0.0.0.0').describe('Address to answer original clients at.'),
      discovery_port: z.int().min(0).max(65_535).default(2333).describe('UDP port; original clients ask no other.'),
      job_port: z.int().min(0).max(65_535).default(2335).describe('TCP port; original clients connect to no other.'),
      jobs_max: z.int().min(1).max(256).default(1).describe('Jobs of original clients at once; others wait in line.'),
      waiting_max: z.int().min(0).max(1_024).default(64).describe('Most original clients in line.'),
      wait_max: duration({ maxMs: dayMs }).default(3_600_000).describe('How long an original client may wait in line.'),
      pipes_dir: z.string().default('/tmp').describe('Folder of the progress pipes of original jobs.'),
      pipes: z
        .enum(['fifo', 'socket'])
        .default('fifo')
        .describe('What these are: fifo for RLSimion, socket for .NET programs.'),
    })
    .superRefine(({ enabled, networks }, context) => {
      if (!enabled || networks.length > 0) return;
      const message =
        'is empty, and herd.legacy.enabled is true; allowed is at least one network, e.g. ["192.168.0.0/24"]: whoever is in it runs programs on this machine';
      context.addIssue({ code: 'custom', path: ['networks'], message });
    })
    .prefault({});
}

/** True if an agent takes jobs straight from clients, by either protocol. */
export function isInHerd({ enabled, legacy }: AgentHerdConfig): boolean {
  return enabled || legacy.enabled;
}

/** What `[herd]` says. */
export type AgentHerdConfig = z.infer<ReturnType<typeof herdConfig>>;

/** `[herd]`: jobs straight from clients on the LAN. */
export function herdConfig() {
  return z
    .strictObject({
      enabled: z
        .boolean()
        .default(false)
        .describe('Take jobs straight from clients on the LAN that this agent has let in.'),
      host: z.string().optional().describe('Address of the herd services; absent means every address of the machine.'),
      port: z
        .int()
        .min(0)
        .max(65_535)
        .default(7614)
        .describe('TCP port of the herd services, and UDP port of discovery.'),
      discovery: z.boolean().default(true).describe('Answer clients that look for agents.'),
      slots: z
        .int()
        .min(1)
        .max(1_024)
        .optional()
        .describe('Herd tasks at once, of the same cores that leases take; absent means the processors less one.'),
      grace: duration({ maxMs: dayMs })
        .default(30_000)
        .describe('How long a job goes on without its client before it is cancelled.'),
      allow_unpaired: networkList()
        .default([])
        .describe(
          'Networks, e.g. 10.1.0.0/16, from which anybody may run anything here without being let in. Only for networks that ' +
            'nobody else reaches.',
        ),
      certificate_lifetime: duration({ minMs: 60_000, maxMs: 365 * dayMs })
        .default(dayMs)
        .describe('How long a client that was let in may stay away; it is renewed by use.'),
      code_lifetime: duration({ minMs: 10_000, maxMs: 3_600_000 })
        .default(300_000)
        .describe('How long a code of "drover herd code" lets somebody in.'),
      content_size_max: byteSize()
        .default(21_474_836_480)
        .describe('Most bytes of inputs and outputs that are kept; beyond, the least recently used go.'),
      jobs_max: z.int().min(1).max(4_096).default(64).describe('Most herd jobs at once.'),
      tasks_per_job_max: z.int().min(1).max(10_000_000).default(100_000).describe('Most tasks of one herd job.'),
      output_size_max: byteSize().default(17_179_869_184).describe('Largest output file of a herd job.'),
      legacy: legacyConfig(),
    })
    .prefault({});
}
