import type { AgentPolicy, FleetPolicy } from '@drover/fleet-policy';
import { isDroverError } from '@drover/lease-kit';
import type { AgentOffer } from '@drover/lease-matching';
import type { AgentRecord, JobStore, SessionStore, StoreContext } from '@drover/lease-store';
import { agentOffer, agentTraits, type AgentTraits } from '@drover/task-sources';

/** What reading a fleet works with. */
export interface FleetReaderDeps {
  /** Absent: whether an agent is held exclusively is not looked up. */
  readonly jobs?: Pick<JobStore, 'liveLeases'>;
  readonly sessions: Pick<SessionStore, 'agents'>;
  readonly policy: FleetPolicy;
  /** Whether the caller may see an agent. Absent: all of them. */
  readonly sees?: (agent: AgentRecord) => boolean;
}

/** An agent as matching sees it, with what operators say about it. */
export interface FleetAgent {
  readonly record: AgentRecord;
  readonly traits: AgentTraits;
  readonly policy: AgentPolicy;
  readonly offer: AgentOffer;
  readonly payloadTypes: ReadonlySet<string>;
}

const agentsMax = 20_000;
const agentsPage = 1_000;

/** Every agent that the store knows, at most 20,000. */
export async function readFleet(deps: FleetReaderDeps, context: StoreContext): Promise<FleetAgent[]> {
  const fleet: FleetAgent[] = [];
  for (let after: string | undefined; fleet.length < agentsMax;) {
    const page = await deps.sessions.agents(
      after === undefined ? { limit: agentsPage } : { after, limit: agentsPage },
      context,
    );
    for (const record of page) {
      if (deps.sees?.(record) !== false) fleet.push(await fleetAgent(record, deps, context));
    }
    if (page.length < agentsPage) break;
    after = page.at(-1)!.agentId;
  }
  return fleet;
}

/** What an agent of the store is, in the pools as they are defined now. */
export function storedTraits({ agentId, description, poolsAllowed }: AgentRecord, policy: FleetPolicy): AgentTraits {
  try {
    return agentTraits(agentId, description, policy.pools, poolsAllowed);
  } catch (error) {
    if (!isDroverError(error)) throw error;
    // Stored before a bound was lowered: without its properties it is still an agent.
    return agentTraits(agentId, { ...description, properties: [] }, policy.pools, poolsAllowed);
  }
}

async function fleetAgent(record: AgentRecord, deps: FleetReaderDeps, context: StoreContext): Promise<FleetAgent> {
  const { agentId, condition } = record;
  const traits = storedTraits(record, deps.policy);
  const policy = deps.policy.policyOf(agentId, traits.pools);
  // Only an agent with exactly one lease can be held exclusively.
  const [only] = (record.leases === 1 && (await deps.jobs?.liveLeases({ agentId, limit: 1 }, context))) || [];
  const resourcesUsed: Record<string, number> = {};
  for (const [name, count] of Object.entries(record.resourcesUsed)) resourcesUsed[name.trim().toLowerCase()] = count;
  const use = { leases: record.leases, resourcesUsed, exclusivelyHeld: only?.requirements.exclusive === true };
  const offer = agentOffer(traits, use, {
    hasSession: record.session !== undefined,
    enabled: policy.disabled === undefined,
    inDowntime: policy.downtime !== undefined,
    ...(policy.withheld === undefined ? {} : { withheld: withheldAs(policy.withheld) }),
    stopping: condition === 'stopping',
    healthy: condition !== 'unhealthy',
    busy: condition === 'busy' || policy.busy !== undefined,
    draining: record.drain !== undefined,
  });
  return { record, traits, policy, offer, payloadTypes: new Set(traits.payloadTypes) };
}

function withheldAs({ state }: NonNullable<AgentPolicy['withheld']>): 'suspected' | 'quarantined' {
  return state === 'quarantined' ? 'quarantined' : 'suspected';
}
