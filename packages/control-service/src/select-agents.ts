import type { AgentSelection } from '@drover/control-api';
import { isDroverError } from '@drover/lease-kit';
import { poolKey } from '@drover/lease-matching';
import { agentsNotFound, type AgentRecord, type SessionStore, type StoreContext } from '@drover/lease-store';
import { inputInvalid } from './input-errors.ts';

/** What a selection is looked up in. */
export interface SelectAgentsDeps {
  readonly sessions: Pick<SessionStore, 'agent' | 'agents'>;
  /** Names of the pools that an agent is in. */
  readonly poolsOf: (agent: AgentRecord) => readonly string[];
}

const idsMax = 1_000;
const pageSize = 1_000;
/** Agents of one pool; a fleet has no more. */
const pagesMax = 100;

/**
 * The ids of the agents that a selection names, by id. `scope` are the pools that the caller is limited to: agents of others
 * do not exist for it. Throws `AGENTS_INVALID`, `AGENT_NOT_FOUND`, or `POOL_EMPTY` for a pool that nobody is in.
 */
export async function selectAgents(
  selection: AgentSelection | undefined,
  scope: readonly string[] | undefined,
  deps: SelectAgentsDeps,
  call: StoreContext,
): Promise<readonly string[]> {
  const { agentIds = [], pool = '' } = selection ?? {};
  const allowed = `1 to ${idsMax} agent ids, or a pool`;
  if (agentIds.length > idsMax) throw inputInvalid('AGENTS_INVALID', 'agents', `${agentIds.length} ids`, allowed);
  if (agentIds.length === 0 && pool === '') throw inputInvalid('AGENTS_INVALID', 'agents', 'nobody is named', allowed);
  if (agentIds.length > 0 && pool !== '') throw inputInvalid('AGENTS_INVALID', 'agents', 'ids and a pool', allowed);
  const sees = (agent: AgentRecord): boolean => scope === undefined || isInOneOf(deps.poolsOf(agent), scope);
  if (pool === '') return byId([...new Set(agentIds)], sees, deps, call);
  return inPool(pool, sees, deps, call);
}

/** True if one of `pools` is one of `wanted`. */
export function isInOneOf(pools: readonly string[], wanted: readonly string[]): boolean {
  const keys = new Set(wanted.map((name) => poolKey(name)));
  return pools.some((name) => keys.has(poolKey(name)));
}

async function byId(
  agentIds: readonly string[],
  sees: (agent: AgentRecord) => boolean,
  { sessions }: SelectAgentsDeps,
  call: StoreContext,
): Promise<readonly string[]> {
  const missing: string[] = [];
  for (const agentId of agentIds) {
    try {
      if (!sees(await sessions.agent(agentId, call))) missing.push(agentId);
    } catch (error) {
      if (!isDroverError(error, 'AGENT_NOT_FOUND')) throw error;
      missing.push(agentId);
    }
  }
  if (missing.length > 0) throw agentsNotFound(missing);
  return [...agentIds].sort();
}

async function inPool(
  pool: string,
  sees: (agent: AgentRecord) => boolean,
  { sessions, poolsOf }: SelectAgentsDeps,
  call: StoreContext,
): Promise<readonly string[]> {
  const found: string[] = [];
  let after: string | undefined;
  for (let page = 0; page < pagesMax; page += 1) {
    const agents = await sessions.agents(after === undefined ? { limit: pageSize } : { after, limit: pageSize }, call);
    for (const agent of agents) if (isInOneOf(poolsOf(agent), [pool]) && sees(agent)) found.push(agent.agentId);
    after = agents.at(-1)?.agentId;
    if (agents.length < pageSize) break;
  }
  if (found.length > 0) return found;
  throw inputInvalid('POOL_EMPTY', 'agents.pool', `no agent is in ${JSON.stringify(pool)}`, 'a pool that has agents');
}
