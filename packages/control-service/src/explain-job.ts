import { create } from '@bufbuild/protobuf';
import {
  AgentExplanationSchema,
  ExplainJobResponseSchema,
  LeaseExplanationSchema,
  LeaseState,
  type AgentExplanation,
  type ExplainJobResponse,
  type LeaseExplanation,
} from '@drover/control-api';
import { isDroverError } from '@drover/lease-kit';
import { fitMismatch, match, type AgentOffer, type Pools } from '@drover/lease-matching';
import type { AgentRecord, JobRecord, JobStore, LeaseRecord, SessionStore, StoreContext } from '@drover/lease-store';
import { agentOffer, agentTraits } from '@drover/task-sources';

/** What explaining works with. */
export interface ExplainJobDeps {
  readonly jobs: Pick<JobStore, 'liveLeases'>;
  readonly sessions: Pick<SessionStore, 'agents'>;
  /** Whether the caller may see an agent. */
  readonly sees: (agent: AgentRecord) => boolean;
  readonly pools: Pools;
  readonly nowMs: number;
}

/** The agent id of the entry that speaks of all agents; it comes first where it comes at all. */
export const wholeFleet = '*';

/** Waiting leases that are explained, and lines in one answer; what is beyond is left out, leases before agents. */
const leasesMax = 100;
const linesMax = 20_000;
const agentsMax = 20_000;
const agentsPage = 1_000;

const standingCodes: ReadonlySet<string> = new Set([
  'NO_SESSION',
  'DISABLED',
  'IN_DOWNTIME',
  'STOPPING',
  'UNHEALTHY',
  'BUSY',
  'DRAINING',
]);

/** Those that the agent itself reports, with its reason. */
const reportedCodes: ReadonlySet<string> = new Set(['UNHEALTHY', 'BUSY', 'STOPPING']);

interface FleetAgent {
  readonly record: AgentRecord;
  readonly offer: AgentOffer;
  readonly payloadTypes: ReadonlySet<string>;
}

interface Reason {
  readonly code: string;
  readonly message: string;
}

/**
 * For every waiting lease of a job and every agent, the first reason why the agent does not take it: quarantine, standing,
 * payload type, pool, condition, size, a refusal before, what is free now. A lease that no agent could take even when
 * connected and idle starts with a line for {@link wholeFleet}, `NOBODY_CAN_TAKE_IT`.
 */
export async function explainJob(
  job: JobRecord,
  deps: ExplainJobDeps,
  context: StoreContext,
): Promise<ExplainJobResponse> {
  const waiting = job.leases.filter(({ state }) => state === 'waiting').slice(0, leasesMax);
  if (waiting.length === 0) return create(ExplainJobResponseSchema);
  const fleet = await readFleet(deps, context);
  const leasesExplained = Math.max(1, Math.min(waiting.length, Math.floor(linesMax / Math.max(1, fleet.length))));
  const leases = waiting.slice(0, leasesExplained).map((lease) => explainLease(lease, fleet, deps.nowMs));
  return create(ExplainJobResponseSchema, { leases });
}

function explainLease(lease: LeaseRecord, fleet: readonly FleetAgent[], nowMs: number): LeaseExplanation {
  const agents = fleet.map((agent): AgentExplanation => {
    const reason = firstReason(lease, agent, nowMs);
    return create(AgentExplanationSchema, { agentId: agent.record.agentId, fits: reason === undefined, ...reason });
  });
  if (fleet.length > 0 && fleet.every((agent) => lastingReason(lease, agent) !== undefined)) {
    const message = `none of the ${fleet.length} agents known could take it, even when connected and idle`;
    agents.unshift(create(AgentExplanationSchema, { agentId: wholeFleet, code: 'NOBODY_CAN_TAKE_IT', message }));
  }
  return create(LeaseExplanationSchema, {
    leaseId: lease.leaseId,
    name: lease.name,
    state: LeaseState.WAITING,
    agents: agents.slice(0, linesMax),
  });
}

function firstReason(lease: LeaseRecord, agent: FleetAgent, nowMs: number): Reason | undefined {
  const { quarantinedUntilMs } = agent.record;
  if (quarantinedUntilMs !== undefined && quarantinedUntilMs > nowMs) {
    const message = `is quarantined for ${Math.ceil((quarantinedUntilMs - nowMs) / 1000)} s: two machines use its identity`;
    return { code: 'QUARANTINED', message };
  }
  const { drain } = agent.record;
  const result = match(lease.requirements, agent.offer, { whenDraining: drain?.source === lease.source });
  const reason = result.fits ? undefined : result.reason;
  if (reason !== undefined && standingCodes.has(reason.code)) {
    if (reason.code === 'DRAINING' && drain !== undefined) {
      return { code: reason.code, message: `${reason.message}: ${drain.source} drains it: ${drain.reason}` };
    }
    const why = reportedCodes.has(reason.code) ? agent.record.conditionReason?.message : undefined;
    return { code: reason.code, message: why === undefined ? reason.message : `${reason.message}: ${why}` };
  }
  const lasting = lastingReason(lease, agent);
  if (lasting !== undefined) return lasting;
  return reason === undefined ? undefined : { code: reason.code, message: reason.message };
}

/** Why the agent does not take it whatever happens to be running. */
function lastingReason(lease: LeaseRecord, agent: FleetAgent): Reason | undefined {
  if (!agent.payloadTypes.has(lease.payloadType)) {
    return { code: 'PAYLOAD_TYPE_UNKNOWN', message: `has no handler for ${lease.payloadType}` };
  }
  const mismatch = fitMismatch(lease.requirements, agent.offer);
  if (mismatch !== undefined) return { code: mismatch.code, message: mismatch.message };
  if (!lease.excludedAgents.includes(agent.record.agentId)) return undefined;
  const refusal = lease.attempts.findLast(
    ({ agentId, end }) => agentId === agent.record.agentId && end?.outcome === 'refused',
  );
  const why = refusal?.end?.reason?.message;
  return { code: 'REFUSED_BEFORE', message: why === undefined ? 'refused it before' : `refused it before: ${why}` };
}

async function readFleet(deps: ExplainJobDeps, context: StoreContext): Promise<FleetAgent[]> {
  const fleet: FleetAgent[] = [];
  for (let after: string | undefined; fleet.length < agentsMax;) {
    const page = await deps.sessions.agents(
      after === undefined ? { limit: agentsPage } : { after, limit: agentsPage },
      context,
    );
    for (const record of page) if (deps.sees(record)) fleet.push(await fleetAgent(record, deps, context));
    if (page.length < agentsPage) break;
    after = page.at(-1)!.agentId;
  }
  return fleet;
}

async function fleetAgent(record: AgentRecord, deps: ExplainJobDeps, context: StoreContext): Promise<FleetAgent> {
  const { agentId, description, condition } = record;
  let traits;
  try {
    traits = agentTraits(agentId, description, deps.pools);
  } catch (error) {
    if (!isDroverError(error)) throw error;
    // Stored before a bound was lowered: without its properties it is still an agent.
    traits = agentTraits(agentId, { ...description, properties: [] }, deps.pools);
  }
  // Only an agent with exactly one lease can be held exclusively.
  const [only] = record.leases === 1 ? await deps.jobs.liveLeases({ agentId, limit: 1 }, context) : [];
  const resourcesUsed: Record<string, number> = {};
  for (const [name, count] of Object.entries(record.resourcesUsed)) resourcesUsed[name.trim().toLowerCase()] = count;
  const use = { leases: record.leases, resourcesUsed, exclusivelyHeld: only?.requirements.exclusive === true };
  const offer = agentOffer(traits, use, {
    hasSession: record.session !== undefined,
    enabled: true,
    inDowntime: false,
    stopping: condition === 'stopping',
    healthy: condition !== 'unhealthy',
    busy: condition === 'busy',
    draining: record.drain !== undefined,
  });
  return { record, offer, payloadTypes: new Set(traits.payloadTypes) };
}
