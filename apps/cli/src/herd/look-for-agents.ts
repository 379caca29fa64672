import { createLegacyFinder } from '@drover/herd-bridge/client';
import { createStaticFinder, discoveryPortDefault, mergeOf } from '@drover/herd-discovery';
import { HerdTrust, herdTrustDir, type TrustedAgent } from '@drover/herd-pairing/client';
import type { FoundAgent } from '@drover/herd-protocol';
import { DroverError, messageOf } from '@drover/lease-kit';
import { UsageError, type CommandContext } from '../command-context.ts';
import { chooseAgents, isNamed, type AgentChoice } from './choose-agents.ts';
import { findersFor, type HerdFinderDeps, type HerdFinderOptions } from './finders-for.ts';
import { readPairedAgents } from './paired-agents.ts';

/** Whom a command looks for, and where. */
export interface LookForAgentsOptions extends HerdFinderOptions {
  readonly choice: AgentChoice;
  readonly timeoutMs: number;
}

/**
 * Finds the agents that are meant. Named ones are asked directly too, where their names are hosts; one that does not answer by
 * UDP is taken from the pairings, for its port may be open all the same. Throws `AGENT_NOT_FOUND`, `NOT_PAIRED`.
 */
export async function lookForAgents(options: LookForAgentsOptions, context: CommandContext): Promise<FoundAgent[]> {
  const { choice } = options;
  const paired = readPairedAgents(context.env);
  const names = choice.kind === 'named' ? choice.names : [];
  const troubles: string[] = [];
  const onLegacyNote = (text: string): void => void troubles.push(text);
  const deps: HerdFinderDeps = { knownAgents: paired, onLegacyNote };
  const onFailure = (error: unknown): void => void troubles.push(messageOf(error));
  const hosts = names.filter((name) => /[.:]|^localhost$/.test(name));
  const port = options.port ?? discoveryPortDefault;
  const legacyHosts = options.legacy === true ? hosts.map((host) => ({ host: host.replace(/:\d+$/, '') })) : [];
  const finder = mergeOf(
    [
      findersFor(options, deps, onFailure),
      ...(legacyHosts.length === 0 ? [] : [createLegacyFinder({ broadcast: false, hosts: legacyHosts })]),
      ...(hosts.length === 0 ? [] : [createStaticFinder({ hosts, port }, deps)]),
      ...(paired.hosts.length === 0 ? [] : [createStaticFinder({ hosts: paired.hosts.slice(0, 256), port }, deps)]),
    ],
    onFailure,
  );
  const found = new Map<string, FoundAgent>();
  for await (const agent of finder.find({ timeoutMs: options.timeoutMs, signal: context.signal })) {
    found.set(agent.agentId, agent);
    // Nobody else is meant.
    if (names.length > 0 && names.every((name) => [...found.values()].some((one) => isNamed(one, name)))) break;
  }
  context.signal.throwIfAborted();
  const silent = new HerdTrust(herdTrustDir(context.env)).list().filter(({ agentId }) => !found.has(agentId));
  const chosen = chooseAgents([...found.values()], silent.map(silentAgent), choice);
  if (chosen.length > 0) return chosen;
  const unpaired = [...found.values()].filter(({ protocol, trusted }) => protocol === 'drover' && !trusted);
  if (unpaired.length > 0) {
    const shown = unpaired.slice(0, 5).map(({ name }) => name);
    throw new DroverError({
      code: 'NOT_PAIRED',
      advice: 'denied',
      message: `none of the agents found is paired with you (${shown.join(', ')}); "drover herd pair" does that`,
    });
  }
  const because = troubles.length === 0 ? '' : ` (${troubles.join('; ')})`;
  throw new DroverError({
    code: 'AGENT_NOT_FOUND',
    advice: 'unavailable',
    message: `no agent was found${because}; "drover discover --doctor" tells why`,
  });
}

/** An agent that has not answered, as it was when it was paired. */
function silentAgent({ agentId, name, address }: TrustedAgent): FoundAgent {
  return {
    agentId,
    protocol: 'drover',
    name,
    addresses: [address],
    availability: 'available',
    version: '',
    architecture: '',
    processors: 0,
    slots: { total: 0, free: 0 },
    ram: { total: 0, free: 0 },
    load: 0,
    gpus: [],
    pools: [],
    trusted: true,
  };
}

/** The options that say which agents are meant, as one; exactly one of them is to be there. */
export function choiceFrom(options: {
  readonly on?: readonly string[] | undefined;
  readonly all?: boolean | undefined;
  readonly best?: number | undefined;
  readonly unpaired?: boolean | undefined;
}): AgentChoice {
  const given = [options.on, options.all, options.best].filter((one) => one !== undefined);
  if (given.length !== 1) {
    throw new UsageError(
      `say which agents: --on NAME…, --all or --best N${given.length === 0 ? '' : ', one of them alone'}`,
    );
  }
  const unpaired = options.unpaired === true;
  if (options.on !== undefined) return { kind: 'named', names: options.on, unpaired };
  return options.best === undefined ? { kind: 'all', unpaired } : { kind: 'best', count: options.best, unpaired };
}
