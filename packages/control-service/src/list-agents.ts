import { create } from '@bufbuild/protobuf';
import {
  ListAgentsResponseSchema,
  type AgentStatus,
  type ListAgentsRequest,
  type ListAgentsResponse,
} from '@drover/control-api';
import type { FleetPolicy } from '@drover/fleet-policy';
import { poolKey } from '@drover/lease-matching';
import type { AgentRecord, AgentSettingsStore, SessionStore, StoreContext } from '@drover/lease-store';
import { agentStatusOf } from './agent-status.ts';
import { idFromPageToken, pageSizeOf, pageTokenOf } from './input-errors.ts';

/** What listing agents works with. */
export interface ListAgentsDeps {
  readonly sessions: Pick<SessionStore, 'agents'>;
  readonly agentSettings: Pick<AgentSettingsStore, 'settingsOf'>;
  readonly policy: FleetPolicy;
  /** Whether the caller may see an agent. */
  readonly sees: (agent: AgentRecord) => boolean;
}

const pageMax = 1_000;
const pageDefault = 200;
/** Pages of the store that one filtered list may look through. */
const filteredPagesMax = 20;

/** A page of agents; with a filter it may be short although more follow, which its token says. */
export async function listAgents(
  request: ListAgentsRequest,
  { sessions, agentSettings, policy, sees }: ListAgentsDeps,
  call: StoreContext,
): Promise<ListAgentsResponse> {
  const limit = pageSizeOf(request.pageSize, pageDefault, pageMax);
  const states = new Set(request.states);
  const pool = poolKey(request.pool);
  const isFiltered = states.size > 0 || pool !== '';
  const readAtOnce = isFiltered ? pageMax : limit;
  const agents: AgentStatus[] = [];
  let after = idFromPageToken(request.pageToken);
  for (let pages = 1; ; pages += 1) {
    const page = { limit: readAtOnce, ...(after === undefined ? {} : { after }) };
    const records = await sessions.agents(page, call);
    const ids = records.map(({ agentId }) => agentId);
    const settings = new Map((await agentSettings.settingsOf(ids, call)).map((one) => [one.agentId, one]));
    for (const record of records) {
      after = record.agentId;
      if (!sees(record)) continue;
      const status = agentStatusOf(record, settings.get(record.agentId), policy);
      if (states.size > 0 && !states.has(status.standing.state)) continue;
      if (pool !== '' && !status.standing.pools.some((name) => poolKey(name) === pool)) continue;
      agents.push(status);
      if (agents.length === limit) break;
    }
    const isLast = records.length < readAtOnce && after === records.at(-1)?.agentId;
    if (isLast || records.length === 0) return create(ListAgentsResponseSchema, { agents });
    if (agents.length === limit || pages === filteredPagesMax) {
      return create(ListAgentsResponseSchema, { agents, nextPageToken: pageTokenOf(after!) });
    }
  }
}
