import type { AgentDescription } from '@drover/herd-discovery';
import { AgentAvailability, type HerdStanding } from '@drover/herd-protocol';
import type { MachineFacts } from '@drover/machine-facts';
import { availableParallelism, freemem, loadavg, totalmem } from 'node:os';

/** What an agent says of itself to who looks for agents, but for how it is now. */
export interface HerdDescriptionOptions {
  readonly agentId: string;
  readonly name: string;
  readonly version: string;
  readonly pools: readonly string[];
  /** TCP port of its herd services. */
  readonly port: number;
}

/** What it says now. */
export function describeForHerd(
  options: HerdDescriptionOptions,
  now: { readonly standing: HerdStanding; readonly facts: MachineFacts; readonly certificateSha256: string },
): AgentDescription {
  const { slotsTotal, slotsFree } = now.standing;
  const { resources, properties } = now.facts.describe();
  const processors = availableParallelism();
  const gpus = properties['GPU'] ?? [];
  return {
    ...options,
    pools: [...options.pools],
    availability: availabilityOf(now.standing),
    certificateSha256: Buffer.from(now.certificateSha256, 'hex'),
    architecture: `${process.platform}-${process.arch}`,
    processors,
    slotsTotal,
    slotsFree,
    ramTotalBytes: BigInt(Math.round(resources['ram'] ?? totalmem())),
    ramFreeBytes: BigInt(freemem()),
    load: Math.min(1, Math.max(0, (loadavg()[0] ?? 0) / processors)),
    gpus: typeof gpus === 'string' ? [gpus] : [...gpus],
  };
}

function availabilityOf({ open, slotsFree }: HerdStanding): AgentAvailability {
  if (!open) return AgentAvailability.CLOSED;
  return slotsFree > 0 ? AgentAvailability.AVAILABLE : AgentAvailability.BUSY;
}
