import type { FoundAgent } from '@drover/herd-protocol';
import { DroverError } from '@drover/lease-kit';

/** Which agents are meant. `unpaired`: also those that this user is not paired with. */
export type AgentChoice = { readonly unpaired: boolean } & (
  | { readonly kind: 'named'; readonly names: readonly string[] }
  | { readonly kind: 'all' }
  /** So many with the most free slots, of equal ones those with the lower load. */
  | { readonly kind: 'best'; readonly count: number }
);

/** True if a name on the command line means this agent: its name, the beginning of its id, or a host, with or without port. */
export function isNamed(agent: FoundAgent, name: string): boolean {
  const wanted = name.toLowerCase();
  if (agent.name.toLowerCase() === wanted || agent.agentId.toLowerCase() === wanted) return true;
  if (wanted.length >= 4 && agent.agentId.toLowerCase().startsWith(wanted)) return true;
  return agent.addresses.some(({ host, port }) => {
    const whole = host.includes(':') ? `[${host}]` : host;
    return [host, whole, `${whole}:${port}`].includes(wanted) || (wanted === 'localhost' && /^127\.|^::1$/.test(host));
  });
}

/**
 * The agents that are meant, of those that answered; named ones may be `silent`, known by pairing alone. Agents of the original
 * protocol need no pairing. Throws `AGENT_NOT_FOUND`, `NOT_PAIRED` and `AGENT_AMBIGUOUS` for a name.
 */
export function chooseAgents(
  found: readonly FoundAgent[],
  silent: readonly FoundAgent[],
  choice: AgentChoice,
): FoundAgent[] {
  const mayUse = ({ protocol, trusted }: FoundAgent): boolean => choice.unpaired || trusted || protocol === 'legacy';
  if (choice.kind === 'named') {
    const chosen = choice.names.map((name) => named(name, found, silent, mayUse));
    return [...new Map(chosen.map((agent) => [agent.agentId, agent])).values()];
  }
  const open = found.filter((agent) => mayUse(agent) && agent.availability !== 'closed');
  if (choice.kind === 'all') return open;
  return open.sort((a, b) => b.slots.free - a.slots.free || a.load - b.load).slice(0, choice.count);
}

function named(
  name: string,
  found: readonly FoundAgent[],
  silent: readonly FoundAgent[],
  mayUse: (agent: FoundAgent) => boolean,
): FoundAgent {
  const answered = found.filter((agent) => isNamed(agent, name));
  const all = answered.length > 0 ? answered : silent.filter((agent) => isNamed(agent, name));
  const [first, second] = all;
  if (first === undefined) {
    const shown = [...found, ...silent].slice(0, 10).map((agent) => agent.name);
    throw new DroverError({
      code: 'AGENT_NOT_FOUND',
      advice: 'not-found',
      message: `there is no agent ${JSON.stringify(name)}; found or paired are: ${shown.join(', ') || 'none'}`,
    });
  }
  if (second !== undefined) {
    const shown = all.slice(0, 5).map(({ agentId, addresses }) => `${agentId} at ${addresses[0]?.host}`);
    throw new DroverError({
      code: 'AGENT_AMBIGUOUS',
      advice: 'fix-input',
      message: `${JSON.stringify(name)} means ${all.length} agents: ${shown.join(', ')}; name one by its id or HOST:PORT`,
    });
  }
  if (mayUse(first)) return first;
  throw new DroverError({
    code: 'NOT_PAIRED',
    advice: 'denied',
    message: `${first.name} is not paired with you; "drover herd pair" does that, or --unpaired where the agent lets anybody in`,
  });
}
