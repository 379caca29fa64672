import { create } from '@bufbuild/protobuf';
import { DroverError } from '@drover/lease-kit';
import { AgentDescriptionSchema, type AgentDescription } from '@drover/lease-protocol';
import type { MachineDescription } from './describe-machine.ts';
import type { LeaseAgentOptions } from './lease-agent-options.ts';

/** Options with what was left out filled in from the machine. */
export interface CheckedOptions {
  readonly leasesMax: number;
  readonly resources: Readonly<Record<string, number>>;
  readonly description: AgentDescription;
}

const propertiesMax = 256;

/** Throws `AGENT_OPTIONS_INVALID` that names the option, what it holds and what is allowed. */
export function checkOptions(
  options: LeaseAgentOptions,
  machine: MachineDescription,
  payloadTypes: readonly string[],
): CheckedOptions {
  const cores = options.resources?.['cores'] ?? machine.resources['cores'] ?? 1;
  const leasesMax = options.ephemeral === true ? 1 : (options.leasesMax ?? Math.max(1, Math.floor(cores)));
  if (!Number.isSafeInteger(leasesMax) || leasesMax < 1 || leasesMax > 4_096) {
    throw invalid('leasesMax', leasesMax, 'a whole number from 1 to 4096');
  }
  const { agentId } = options;
  if (agentId !== undefined && (agentId === '' || agentId.length > 128)) {
    throw invalid('agentId', agentId, '1 to 128 characters');
  }
  if (options.stateDir === '') throw invalid('stateDir', '', 'a path');
  const { resources, description } = describeAgent(options, machine, payloadTypes, leasesMax);
  return { leasesMax, resources, description };
}

/**
 * What an agent with these options is on a machine, as it tells its server: the options go before what the machine says, keys
 * compared without regard to case. Throws `AGENT_OPTIONS_INVALID`.
 */
export function describeAgent(
  options: LeaseAgentOptions,
  machine: MachineDescription,
  payloadTypes: readonly string[],
  leasesMax: number,
): Pick<CheckedOptions, 'resources' | 'description'> {
  const resources = { ...machine.resources, ...options.resources };
  for (const [name, amount] of Object.entries(resources)) {
    if (!Number.isSafeInteger(amount) || amount < 0)
      throw invalid(`resources.${name}`, amount, 'a whole number from 0');
  }
  const told = new Set(Object.keys(options.properties ?? {}).map((key) => key.toLowerCase()));
  const properties = [
    ...Object.entries(machine.properties).filter(([key]) => !told.has(key.toLowerCase())),
    ...Object.entries(options.properties ?? {}),
  ].flatMap(([key, values]) => [values].flat().map((value) => ({ key, value })));
  if (properties.length > propertiesMax) {
    throw invalid('properties', properties.length, `at most ${propertiesMax} values, those of the machine included`);
  }
  const description = create(AgentDescriptionSchema, {
    name: options.name ?? machine.name,
    version: options.version ?? '0.0.0',
    bootId: machine.bootId,
    properties,
    resources: Object.fromEntries(Object.entries(resources).map(([name, amount]) => [name, BigInt(amount)])),
    pools: [...(options.pools ?? [])],
    payloadTypes: [...payloadTypes],
    leasesMax,
    ephemeral: options.ephemeral ?? false,
  });
  return { resources, description };
}

const invalid = (option: string, value: unknown, allowed: string): DroverError =>
  new DroverError({
    code: 'AGENT_OPTIONS_INVALID',
    advice: 'fix-input',
    message: `${option} must be ${allowed}, not ${JSON.stringify(value)}`,
    details: { option },
  });
