import { wholeFleetPool } from '@drover/agent-health';
import type { FleetPolicy } from '@drover/fleet-policy';
import { isDroverError } from '@drover/lease-kit';
import { poolKey } from '@drover/lease-matching';
import type { AgentRecord, SessionStore, StoreContext } from '@drover/lease-store';
import { agentTraits } from '@drover/task-sources';

/** A fleet as caps see it. */
export interface FleetMembers {
  /** What is known of an agent; undefined for one that is neither connected nor withheld. */
  of(agentId: string): { readonly record: AgentRecord; readonly pools: readonly string[] } | undefined;
  /** How many agents a pool has, by its key, or the whole fleet. */
  count(pool: string): number;
}

const pageSize = 1_000;
/** Agents beyond are not counted. */
const agentsMax = 100_000;

/** Reads who is in which pool now: agents that are connected, and those that are withheld already. Pools are keys. */
export async function readMembers(
  sessions: Pick<SessionStore, 'agents'>,
  policy: FleetPolicy,
  isWithheld: (agentId: string) => boolean,
  context: StoreContext,
): Promise<FleetMembers> {
  const members = new Map<string, { record: AgentRecord; pools: readonly string[] }>();
  const counts = new Map<string, number>();
  let after: string | undefined;
  for (let read = 0; read < agentsMax; read += pageSize) {
    const page = await sessions.agents({ limit: pageSize, ...(after === undefined ? {} : { after }) }, context);
    for (const record of page) {
      const { agentId } = record;
      if (record.session === undefined && !isWithheld(agentId)) continue;
      const pools = [...new Set(poolsOf(record, policy).map((name) => poolKey(name)))];
      members.set(agentId, { record, pools });
      for (const pool of [...pools, wholeFleetPool]) counts.set(pool, (counts.get(pool) ?? 0) + 1);
    }
    if (page.length < pageSize) break;
    after = page.at(-1)!.agentId;
  }
  return { of: (agentId) => members.get(agentId), count: (pool) => counts.get(pool) ?? 0 };
}

function poolsOf({ agentId, description, poolsAllowed }: AgentRecord, policy: FleetPolicy): readonly string[] {
  try {
    return agentTraits(agentId, description, policy.pools, poolsAllowed).pools;
  } catch (error) {
    if (!isDroverError(error)) throw error;
    // Stored before a bound was lowered: without its properties it is still an agent.
    return agentTraits(agentId, { ...description, properties: [] }, policy.pools, poolsAllowed).pools;
  }
}
