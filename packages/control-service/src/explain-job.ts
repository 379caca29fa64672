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
import { fitMismatch, match, poolKey, type Pools } from '@drover/lease-matching';
import type { JobRecord, LeaseRecord, StoreContext } from '@drover/lease-store';
import { distance } from 'fastest-levenshtein';
import { readFleet, type FleetAgent, type FleetReaderDeps } from './fleet-reader.ts';

/** What explaining works with. */
export interface ExplainJobDeps extends FleetReaderDeps {
  readonly nowMs: number;
}

/** The agent id of the entry that speaks of all agents; it comes first where it comes at all. */
export const wholeFleet = '*';

/** Waiting leases that are explained, and lines in one answer; what is beyond is left out, leases before agents. */
const leasesMax = 100;
const linesMax = 20_000;

const standingCodes: ReadonlySet<string> = new Set([
  'NO_SESSION',
  'DISABLED',
  'IN_DOWNTIME',
  'SUSPECTED',
  'HEALTH_QUARANTINED',
  'STOPPING',
  'UNHEALTHY',
  'BUSY',
  'DRAINING',
]);

/** Those that the agent itself reports, with its reason. */
const reportedCodes: ReadonlySet<string> = new Set(['UNHEALTHY', 'BUSY', 'STOPPING']);

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
  const leases = waiting.slice(0, leasesExplained).map((lease) => explainLease(lease, fleet, deps));
  return create(ExplainJobResponseSchema, { leases });
}

function explainLease(lease: LeaseRecord, fleet: readonly FleetAgent[], deps: ExplainJobDeps): LeaseExplanation {
  const absent = absentPool(lease.requirements.pool, fleet, deps.policy.pools);
  const agents = fleet.map((agent): AgentExplanation => {
    const reason = firstReason(lease, agent, deps.nowMs, absent);
    return create(AgentExplanationSchema, { agentId: agent.record.agentId, fits: reason === undefined, ...reason });
  });
  if (fleet.length > 0 && fleet.every((agent) => lastingReason(lease, agent) !== undefined)) {
    const none = `none of the ${fleet.length} agents known could take it, even when connected and idle`;
    const message = absent === undefined ? none : `${none}: ${absent}`;
    agents.unshift(create(AgentExplanationSchema, { agentId: wholeFleet, code: 'NOBODY_CAN_TAKE_IT', message }));
  }
  return create(LeaseExplanationSchema, {
    leaseId: lease.leaseId,
    name: lease.name,
    state: LeaseState.WAITING,
    agents: agents.slice(0, linesMax),
  });
}

function firstReason(
  lease: LeaseRecord,
  agent: FleetAgent,
  nowMs: number,
  absent: string | undefined,
): Reason | undefined {
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
    return {
      code: reason.code,
      message: setByOperator(reason, agent) ?? byFacts(reason, agent) ?? reported(reason, agent),
    };
  }
  const lasting = lastingReason(lease, agent);
  if (lasting?.code === 'NOT_IN_POOL' && absent !== undefined) {
    return { code: lasting.code, message: `${lasting.message}; ${absent}` };
  }
  if (lasting !== undefined) return lasting;
  return reason === undefined ? undefined : { code: reason.code, message: reason.message };
}

/** What the agent itself says of its condition. */
function reported(reason: Reason, { record }: FleetAgent): string {
  const why = reportedCodes.has(reason.code) ? record.conditionReason?.message : undefined;
  return why === undefined ? reason.message : `${reason.message}: ${why}`;
}

/** What an operator has set, by whom, until when and why; undefined where none did. */
function setByOperator(reason: Reason, { policy: { disabled, busy, downtime } }: FleetAgent): string | undefined {
  const because = (comment: string): string => (comment === '' ? '' : `: ${comment}`);
  if (reason.code === 'DISABLED' && disabled !== undefined) {
    return `is disabled by ${disabled.by} since ${timeText(disabled.atMs)}${because(disabled.comment)}`;
  }
  if (reason.code === 'BUSY' && busy !== undefined) {
    return `is busy until ${timeText(busy.untilMs)}, says ${busy.by}${because(busy.comment)}`;
  }
  if (reason.code === 'IN_DOWNTIME' && downtime !== undefined) {
    return `is in scheduled downtime until ${timeText(downtime.untilMs)}${because(downtime.comment)}`;
  }
  return undefined;
}

/** What speaks against an agent that is withheld, and when it is tried next. */
function byFacts({ code }: Reason, { policy: { withheld } }: FleetAgent): string | undefined {
  if (withheld === undefined || (code !== 'SUSPECTED' && code !== 'HEALTH_QUARANTINED')) return undefined;
  const { state, reason, canaryDueMs } = withheld;
  const next = canaryDueMs === undefined ? 'its canary is under way' : `next canary ${timeText(canaryDueMs)}`;
  return `is ${state}: ${reason}; ${next}`;
}

function timeText(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}

/** What is wrong with a pool that no agent is in; undefined for one with agents, and for none. */
function absentPool(pool: string | undefined, fleet: readonly FleetAgent[], pools: Pools): string | undefined {
  if (pool === undefined) return undefined;
  const key = poolKey(pool);
  const names = new Map<string, string>();
  for (const { traits } of fleet) for (const name of traits.pools) names.set(poolKey(name), name);
  if (names.has(key)) return undefined;
  if (pools.some(({ name }) => poolKey(name) === key)) return `pool ${pool} matches no agent`;
  for (const { name } of pools) names.set(poolKey(name), name);
  const near = [...names].filter(([other]) => distance(key, other) <= Math.max(1, Math.floor(key.length / 3)));
  const hint =
    near.length === 0
      ? ''
      : `; near: ${near
          .slice(0, 3)
          .map(([, name]) => name)
          .join(', ')}`;
  return `there is no pool ${pool}${hint}`;
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
