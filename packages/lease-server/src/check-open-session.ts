import type { AgentDescription, OpenSessionRequest } from '@drover/lease-protocol';
import { isDroverError } from '@drover/lease-kit';
import type { Pools } from '@drover/lease-matching';
import { agentTraits, type AgentTraits } from '@drover/task-sources';
import { openSessionInvalid } from './session-errors.ts';
import { listEntriesMax } from './wire-copies.ts';

const agentIdLengthMax = 128;
const nameLengthMax = 256;
const namesMax = 256;

/** What a request says about its agent, checked. Throws `OPEN_SESSION_INVALID`. */
export function checkOpenSession(
  request: OpenSessionRequest,
  pools: Pools,
  leasesPerAgentMax: number,
  poolsAllowed?: readonly string[],
): AgentTraits {
  const { agentId, instanceNonce, agent, proven, goingDown } = request;
  checkText('agent_id', agentId, agentIdLengthMax);
  checkText('instance_nonce', instanceNonce, nameLengthMax);
  if (agent === undefined) throw openSessionInvalid('agent', 'it is missing', 'a description');
  if (proven.length > listEntriesMax) {
    throw openSessionInvalid('proven', `${proven.length} attempts`, `at most ${listEntriesMax}`);
  }
  if (goingDown.length > listEntriesMax) {
    throw openSessionInvalid('going_down', `${goingDown.length} attempts`, `at most ${listEntriesMax}`);
  }
  return checkDescription(agentId, agent, pools, leasesPerAgentMax, poolsAllowed);
}

/** What an agent says about itself, checked. Throws `OPEN_SESSION_INVALID`. */
export function checkDescription(
  agentId: string,
  agent: AgentDescription,
  pools: Pools,
  leasesPerAgentMax: number,
  poolsAllowed?: readonly string[],
): AgentTraits {
  if (agent.leasesMax < 1 || agent.leasesMax > listEntriesMax) {
    throw openSessionInvalid('agent.leases_max', String(agent.leasesMax), `1 to ${listEntriesMax}`);
  }
  checkNames('agent.payload_types', agent.payloadTypes);
  checkNames('agent.pools', agent.pools);
  checkNames('agent.resources', Object.keys(agent.resources));
  try {
    const traits = agentTraits(agentId, agent, pools, poolsAllowed);
    return { ...traits, leasesMax: Math.min(traits.leasesMax, leasesPerAgentMax) };
  } catch (error) {
    if (isDroverError(error))
      throw openSessionInvalid('agent.properties', error.message, 'properties that matching takes');
    throw error;
  }
}

function checkNames(field: string, names: readonly string[]): void {
  if (names.length > namesMax) throw openSessionInvalid(field, `${names.length} entries`, `at most ${namesMax}`);
  for (const name of names) checkText(field, name, nameLengthMax);
}

function checkText(field: string, text: string, lengthMax: number): void {
  if (text === '' || text.length > lengthMax || text.includes('\0')) {
    throw openSessionInvalid(field, JSON.stringify(text.slice(0, 80)), `1 to ${lengthMax} characters, none NUL`);
  }
}
