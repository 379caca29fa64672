import type { AgentHealth } from '@drover/agent-health';
import type { AgentHealthChange, AgentHealthRecord } from './agent-health-store.ts';
import { checkCount, checkText, checkWhole, storedMessage } from './check-store-input.ts';
import { storeLimits } from './store-limits.ts';

/** Throws for changes that no store takes. */
export function checkHealthChanges(changes: readonly AgentHealthChange[]): void {
  checkCount('changes', changes.length, storeLimits.healthChangesMax);
  changes.forEach(({ agentId, revision, caps }, index) => {
    checkText(`changes[${index}].agentId`, agentId, storeLimits.idLengthMax);
    checkWhole(`changes[${index}].revision`, revision, 0, Number.MAX_SAFE_INTEGER);
    checkCount(`changes[${index}].caps`, caps.length, storeLimits.healthCapsMax);
    for (const { pool, max } of caps) {
      checkText(`changes[${index}].caps.pool`, pool, storeLimits.nameLengthMax);
      checkWhole(`changes[${index}].caps.max`, max, 0, Number.MAX_SAFE_INTEGER);
    }
  });
}

/** What is kept of a health: texts and evidence within their bounds. */
export function storedHealth(health: AgentHealth): AgentHealth {
  return {
    ...health,
    reason: storedMessage(health.reason),
    evidence: health.evidence.slice(0, storeLimits.healthEvidenceMax),
  };
}

/** A suspected agent for which the caps leave no room. */
export function leftAtWork(health: AgentHealth): AgentHealth {
  const { canaryDueMs: _due, canaryWantedMs: _wanted, ...rest } = health;
  return { ...rest, state: 'suspected', isWithheld: false };
}

/** The health of an agent that an operator lets work. */
export function clearedHealth(by: string, comment: string, nowMs: number): AgentHealth {
  const reason = comment === '' ? `was cleared by ${by}` : `was cleared by ${by}: ${comment}`;
  return {
    state: 'cleared',
    isWithheld: false,
    sinceMs: nowMs,
    reason,
    evidence: [],
    rounds: 0,
    clearedAtMs: nowMs,
    clearedBy: by,
  };
}

/** What the audit says of an agent's health. */
export function auditedHealth(record: AgentHealthRecord | undefined): Record<string, unknown> {
  return record === undefined ? { state: 'healthy' } : { state: record.state, reason: record.reason };
}
