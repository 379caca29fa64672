import type { AgentHealth, BadEnd, KindSuccesses } from '@drover/agent-health';
import { principalName } from '@drover/lease-kit';
import type { AgentHealthChange, AgentHealthResult, AgentHealthStore } from '../agent-health-store.ts';
import { auditedHealth, checkHealthChanges, clearedHealth, leftAtWork, storedHealth } from '../check-agent-health.ts';
import { checkAgentIds, checkPage } from '../check-fleet-input.ts';
import { checkText, checkWhole } from '../check-store-input.ts';
import { agentsNotFound } from '../store-errors.ts';
import { storeLimits } from '../store-limits.ts';
import type { MemoryAudit } from './memory-audit-store.ts';
import type { EndedMemoryAttempt, MemoryData, MemoryLease } from './memory-data.ts';

/** The health of agents in a memory store. */
export function memoryAgentHealthStore(data: MemoryData, audit: MemoryAudit): AgentHealthStore {
  const { clock, health } = data;
  let nextPassMs = 0;
  const put = (agentId: string, next: AgentHealth, pools: readonly string[]): void => {
    const revision = (health.get(agentId)?.revision ?? 0) + 1;
    health.set(agentId, structuredClone({ ...storedHealth(next), agentId, revision, pools }));
  };
  const changeOne = ({ agentId, revision, next, caps }: AgentHealthChange): AgentHealthResult => {
    const before = health.get(agentId);
    if ((before?.revision ?? 0) !== revision || !data.agents.has(agentId)) return { agentId, result: 'changed' };
    if (next === 'healthy') {
      health.delete(agentId);
      return { agentId, result: 'written' };
    }
    if (!next.isWithheld || before?.isWithheld === true) {
      put(agentId, next, next.isWithheld ? (before?.pools ?? []) : []);
      return { agentId, result: 'written' };
    }
    const full = caps.find(
      ({ pool, max }) => [...health.values()].filter(({ pools }) => pools.includes(pool)).length >= max,
    );
    if (full !== undefined) {
      if (before?.state !== 'suspected') put(agentId, leftAtWork(next), []);
      return { agentId, result: 'full', pool: full.pool };
    }
    put(
      agentId,
      next,
      caps.map(({ pool }) => pool),
    );
    return { agentId, result: 'written' };
  };
  return {
    claimPass: async (everyMs, context) => {
      data.enter(context);
      checkWhole('everyMs', everyMs, 10, 86_400_000);
      if (nextPassMs > clock.wallMs()) return false;
      nextPassMs = clock.wallMs() + everyMs;
      return true;
    },
    facts: async (windowMs, context) => {
      data.enter(context);
      checkWhole('windowMs', windowMs, 1, Number.MAX_SAFE_INTEGER);
      return factsOf(data, clock.wallMs(), windowMs);
    },
    records: async (page, context) => {
      data.enter(context);
      checkPage(page);
      return [...health.values()]
        .filter(({ agentId }) => agentId > (page.after ?? ''))
        .sort((a, b) => (a.agentId < b.agentId ? -1 : 1))
        .slice(0, page.limit);
    },
    recordsOf: async (agentIds, context) => {
      data.enter(context);
      if (agentIds.length === 0) return [];
      checkAgentIds(agentIds);
      return agentIds.flatMap((agentId) => health.get(agentId) ?? []);
    },
    change: async (changes, context) => {
      data.enter(context);
      checkHealthChanges(changes);
      return changes.map(changeOne);
    },
    clear: async (agentIds, comment, context) => {
      data.enter(context);
      checkAgentIds(agentIds);
      checkText('comment', comment, storeLimits.commentLengthMax, true);
      const ids = [...new Set(agentIds)];
      const missing = ids.filter((agentId) => !data.agents.has(agentId));
      if (missing.length > 0) throw agentsNotFound(missing);
      const records = ids.flatMap((agentId) => health.get(agentId) ?? []);
      for (const agentId of ids) {
        const before = health.get(agentId);
        put(agentId, clearedHealth(principalName(context.principal), comment, clock.wallMs()), []);
        audit.write(context, {
          subject: `agent:${agentId}`,
          before: auditedHealth(before),
          after: auditedHealth(health.get(agentId)),
        });
      }
      return records;
    },
  };
}

function factsOf(data: MemoryData, nowMs: number, windowMs: number) {
  const found: { readonly lease: MemoryLease; readonly attempt: EndedMemoryAttempt }[] = [];
  for (const lease of data.leases.values()) {
    if (lease.jobId === undefined) continue;
    for (const attempt of lease.attempts) {
      if (attempt.endedAtMs > nowMs - windowMs && isBad(lease, attempt)) found.push({ lease, attempt });
    }
  }
  found.sort((a, b) => b.attempt.endedAtMs - a.attempt.endedAtMs);
  const jobs = new Set<string>();
  const ends: BadEnd[] = [];
  for (const { lease, attempt } of found.slice(0, storeLimits.healthEndsMax)) {
    const jobId = lease.jobId!;
    if (!jobs.has(jobId) && jobs.size === storeLimits.healthJobsMax) continue;
    jobs.add(jobId);
    const on = lease.state === 'ended' && lease.succeeded ? lease.attempts.at(-1)?.agentId : undefined;
    ends.push({
      agentId: attempt.agentId,
      leaseId: lease.draft.leaseId,
      attempt: attempt.attempt,
      kind: `${jobId}/${lease.classId}`,
      name: lease.draft.name,
      endedAtMs: attempt.endedAtMs,
      outcome: attempt.outcome as BadEnd['outcome'],
      code: attempt.reason?.code ?? '',
      ...(on === undefined ? {} : { succeededOn: on }),
    });
  }
  const successes: KindSuccesses[] = [];
  for (const jobId of jobs) {
    const good = (data.jobs.get(jobId)?.leases ?? []).filter(({ state, succeeded }) => state === 'ended' && succeeded);
    for (const lease of good.slice(0, storeLimits.healthSuccessesMax)) {
      successes.push({ kind: `${jobId}/${lease.classId}`, agentId: lease.attempts.at(-1)!.agentId, leases: 1 });
    }
  }
  return { nowMs, ends, successes };
}

function isBad(lease: MemoryLease, { outcome, final }: EndedMemoryAttempt): boolean {
  if (outcome === 'completed') return !final || !lease.succeeded;
  return outcome === 'failed' || outcome === 'timed-out' || outcome === 'lost';
}
