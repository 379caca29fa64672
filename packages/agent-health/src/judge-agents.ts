import { evidenceMax, type HealthRules } from './health-rules.ts';
import type { BadEnd, LeaseFacts } from './lease-facts.ts';

/** A lease that an agent failed and that speaks against it. */
export interface Evidence {
  readonly leaseId: string;
  readonly attempt: number;
  readonly name: string;
  readonly outcome: BadEnd['outcome'];
  /** Empty where no reason was given. */
  readonly code: string;
  readonly atMs: number;
  /** The agent on which the lease itself succeeded. Absent: others of its kind succeeded on other agents. */
  readonly succeededOn?: string;
}

/** What speaks against one agent. */
export interface Suspicion {
  readonly agentId: string;
  /** Enough to suspect it. */
  readonly isEnough: boolean;
  /** Sum of the weights, each half as much after every half-life. */
  readonly weight: number;
  /** Leases that count against it. */
  readonly failed: number;
  /** Those, and the leases of the same kinds that succeeded on it. */
  readonly ended: number;
  /** The same of all other agents, in the same kinds. */
  readonly othersFailed: number;
  readonly othersEnded: number;
  /** Newest first, at most {@link evidenceMax}. */
  readonly evidence: readonly Evidence[];
}

/** Reasons that no machine is to blame for: an operator's wish, or a limit that includes waiting. */
const blamelessCodes: ReadonlySet<string> = new Set([
  'AGENT_BUSY',
  'AGENT_SHUTTING_DOWN',
  'AGENT_GOING_DOWN',
  'LEASE_TIMED_OUT',
  'ORPHANED',
]);

/** What is lost within so long of each other was lost by one event, e.g. an agent that was killed. */
const oneLossMs = 10_000;

interface Kind {
  /** Leases that succeeded, by agent. */
  readonly succeeded: Map<string, number>;
  succeededAll: number;
  /** Leases that count, by agent. */
  readonly failed: Map<string, number>;
  failedAll: number;
}

interface Weighed {
  readonly end: BadEnd;
  readonly weight: number;
}

/**
 * What speaks against which agents. An end counts
 *
 * - 1, shared by all agents that failed the lease, if the lease succeeded on another agent;
 * - ½ if no other agent has failed the lease, and leases of its kind succeeded on others, `kindSuccessesMin` of them;
 * - nothing if the lease failed on several agents and succeeded on none, if it succeeded in the end on the agent itself, or
 *   if the reason is nobody's fault.
 *
 * A lease counts once against an agent, and what an agent lost at one moment counts as one lease. Ends before
 * `ignoredBeforeMs` of an agent do not count against it. It is enough when the weights, halved with every half-life, reach
 * the threshold, and the agent failed both `shareMin` of what it ended of these kinds and `timesOthersMin` times the share
 * that others failed of them: where everybody fails a little, nobody is suspected.
 */
export function judgeAgents(
  { nowMs, ends, successes }: LeaseFacts,
  rules: HealthRules,
  ignoredBeforeMs: (agentId: string) => number = () => 0,
): ReadonlyMap<string, Suspicion> {
  const recent = ends.filter(({ endedAtMs, code }) => endedAtMs > nowMs - rules.windowMs && !blamelessCodes.has(code));
  const failedBy = new Map<string, Set<string>>();
  for (const { leaseId, agentId } of recent) {
    failedBy.set(leaseId, (failedBy.get(leaseId) ?? new Set<string>()).add(agentId));
  }
  const kinds = new Map<string, Kind>();
  for (const { kind } of recent) {
    kinds.set(kind, { succeeded: new Map(), succeededAll: 0, failed: new Map(), failedAll: 0 });
  }
  for (const { kind, agentId, leases } of successes) {
    const found = kinds.get(kind);
    if (found === undefined) continue;
    found.succeeded.set(agentId, (found.succeeded.get(agentId) ?? 0) + leases);
    found.succeededAll += leases;
  }
  const byAgent = new Map<string, Weighed[]>();
  const counted = new Set<string>();
  /** The loss of each agent that was counted last. */
  const lossMs = new Map<string, number>();
  for (const end of recent.toSorted((a, b) => b.endedAtMs - a.endedAtMs)) {
    const { agentId, leaseId } = end;
    const kind = kinds.get(end.kind)!;
    const base = weightOf(end, failedBy.get(leaseId)!.size, kind, rules);
    if (base === 0 || end.endedAtMs <= ignoredBeforeMs(agentId)) continue;
    const key = JSON.stringify([agentId, leaseId]);
    if (counted.has(key)) continue;
    counted.add(key);
    if (end.outcome === 'lost') {
      if ((lossMs.get(agentId) ?? Infinity) - end.endedAtMs <= oneLossMs) continue;
      lossMs.set(agentId, end.endedAtMs);
    }
    kind.failed.set(agentId, (kind.failed.get(agentId) ?? 0) + 1);
    kind.failedAll += 1;
    const weight = base * 2 ** (-Math.max(0, nowMs - end.endedAtMs) / rules.halfLifeMs);
    const list = byAgent.get(agentId);
    if (list === undefined) byAgent.set(agentId, [{ end, weight }]);
    else list.push({ end, weight });
  }
  const suspicions = new Map<string, Suspicion>();
  for (const [agentId, weighed] of byAgent) suspicions.set(agentId, suspicionOf(agentId, weighed, kinds, rules));
  return suspicions;
}

function weightOf(end: BadEnd, failedByCount: number, kind: Kind, rules: HealthRules): number {
  if (end.succeededOn !== undefined) return end.succeededOn === end.agentId ? 0 : 1 / failedByCount;
  if (failedByCount > 1) return 0;
  const elsewhere = kind.succeededAll - (kind.succeeded.get(end.agentId) ?? 0);
  return elsewhere >= rules.kindSuccessesMin ? 0.5 : 0;
}

function suspicionOf(
  agentId: string,
  weighed: readonly Weighed[],
  kinds: ReadonlyMap<string, Kind>,
  rules: HealthRules,
): Suspicion {
  let succeeded = 0;
  let othersFailed = 0;
  let othersSucceeded = 0;
  for (const name of new Set(weighed.map(({ end }) => end.kind))) {
    const kind = kinds.get(name)!;
    const own = kind.succeeded.get(agentId) ?? 0;
    succeeded += own;
    othersSucceeded += kind.succeededAll - own;
    othersFailed += kind.failedAll - (kind.failed.get(agentId) ?? 0);
  }
  const weight = weighed.reduce((sum, one) => sum + one.weight, 0);
  const failed = weighed.length;
  const ended = failed + succeeded;
  const othersEnded = othersFailed + othersSucceeded;
  const share = failed / ended;
  const othersShare = othersEnded === 0 ? 0 : othersFailed / othersEnded;
  return {
    agentId,
    isEnough: weight >= rules.threshold && share >= rules.shareMin && share >= rules.timesOthersMin * othersShare,
    weight,
    failed,
    ended,
    othersFailed,
    othersEnded,
    evidence: weighed.slice(0, evidenceMax).map(({ end }) => ({
      leaseId: end.leaseId,
      attempt: end.attempt,
      name: end.name,
      outcome: end.outcome,
      code: end.code,
      atMs: end.endedAtMs,
      ...(end.succeededOn === undefined ? {} : { succeededOn: end.succeededOn }),
    })),
  };
}
