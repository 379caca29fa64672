import { evidenceInWords } from './evidence-in-words.ts';
import type { HealthRules } from './health-rules.ts';
import type { Evidence, Suspicion } from './judge-agents.ts';

/** Where an agent stands by the facts. An agent without one is healthy. */
export interface AgentHealth {
  /**
   * - `suspected`: it fails what succeeds elsewhere; a canary is to decide.
   * - `quarantined`: its canary failed, or it passed one and failed again.
   * - `cleared`: it may work; what happened before no longer counts.
   */
  readonly state: 'suspected' | 'quarantined' | 'cleared';
  /** It gets no ordinary work. False for a suspected agent that the cap of a pool leaves at work. */
  readonly isWithheld: boolean;
  readonly sinceMs: number;
  /** Why, as the end of a sentence that begins with the agent. */
  readonly reason: string;
  /** Newest first. */
  readonly evidence: readonly Evidence[];
  /** Quarantines one after another: the place in the back-off. */
  readonly rounds: number;
  /** When the next canary is wanted. Absent: none is to come. */
  readonly canaryDueMs?: number;
  /** Since when a canary is wanted that has not ended. Absent: none is. */
  readonly canaryWantedMs?: number;
  /** Ends before do not count. */
  readonly clearedAtMs?: number;
  /** Who cleared it: `canary`, or a principal. */
  readonly clearedBy?: string;
}

/** How a canary ended. `undecided`: it was refused, cancelled or withdrawn, so that it says nothing of the machine. */
export interface CanaryEnd {
  readonly result: 'succeeded' | 'failed' | 'undecided';
  /** For people; why it failed. */
  readonly message: string;
}

/** What is known of one agent when its health is decided. */
export interface HealthInput {
  readonly health: AgentHealth | undefined;
  readonly suspicion: Suspicion | undefined;
  /** The end of the canary that is wanted. Absent: none is wanted, or it goes on. */
  readonly canary: CanaryEnd | undefined;
  /** False while nobody can be tried, e.g. the agent is offline or disabled: no canary is wanted then. */
  readonly mayTry: boolean;
  readonly nowMs: number;
}

/**
 * What follows: the health to record, `healthy` to forget it, or undefined to leave it as it is. `isWithheld` is a wish: where
 * a cap leaves no room, the store records a suspected agent that is at work.
 *
 * ```
 *              enough evidence                      canary failed
 *   healthy ───────────────────▶ suspected ───────────────────────────▶ quarantined ◀─┐ canary failed:
 *      ▲                          │ │   ▲                               │       │     │ next one by back-off
 *      │ no evidence (at work) ───┘ │   │ evidence, later                │       └─────┘
 *      │                            │   │                               │
 *      │ long enough            canary succeeded      canary succeeded, operator
 *      └───────────────── cleared ◀─┴─────────────────────────────────────┘
 *                            └── evidence soon after passing a canary ──▶ quarantined
 * ```
 */
export function decideHealth(input: HealthInput, rules: HealthRules): AgentHealth | 'healthy' | undefined {
  const { health, suspicion, nowMs } = input;
  if (health === undefined) return suspicion?.isEnough === true ? suspected(suspicion, nowMs, 0) : undefined;
  if (health.state === 'cleared') return fromCleared(health, input, rules);
  if (!health.isWithheld) return fromAtWork(health, input);
  if (input.canary !== undefined && health.canaryWantedMs !== undefined) {
    return afterCanary(health, input.canary, nowMs, rules);
  }
  const isDue = health.canaryDueMs !== undefined && health.canaryDueMs <= nowMs;
  if (isDue && health.canaryWantedMs === undefined && input.mayTry) {
    const { canaryDueMs: _, ...rest } = health;
    return { ...rest, canaryWantedMs: nowMs };
  }
  return undefined;
}

function suspected(suspicion: Suspicion, nowMs: number, rounds: number): AgentHealth {
  return {
    state: 'suspected',
    isWithheld: true,
    sinceMs: nowMs,
    reason: evidenceInWords(suspicion),
    evidence: suspicion.evidence,
    rounds,
    canaryDueMs: nowMs,
  };
}

function fromCleared(
  health: AgentHealth,
  { suspicion, nowMs }: HealthInput,
  rules: HealthRules,
): AgentHealth | 'healthy' | undefined {
  const clearedAtMs = health.clearedAtMs ?? health.sinceMs;
  const isLate = nowMs - clearedAtMs > rules.relapseMs;
  if (suspicion?.isEnough === true) {
    const again = { ...suspected(suspicion, nowMs, isLate ? 0 : health.rounds), clearedAtMs };
    if (isLate || health.clearedBy !== 'canary') return again;
    // Its canary cannot tell what is wrong: another one at once would only let it go on failing.
    return quarantined(again, `passed its canary and then ${again.reason}`, nowMs, rules);
  }
  return nowMs - clearedAtMs > Math.max(rules.relapseMs, rules.windowMs) ? 'healthy' : undefined;
}

/** Suspected, and at work because a cap leaves no room. */
function fromAtWork(health: AgentHealth, { suspicion, nowMs }: HealthInput): AgentHealth | 'healthy' | undefined {
  // Asked for again each time: there may be room now.
  if (suspicion?.isEnough === true) {
    const { evidence, reason } = suspected(suspicion, nowMs, health.rounds);
    return { ...health, evidence, reason, isWithheld: true, canaryDueMs: nowMs };
  }
  if (health.clearedAtMs === undefined) return 'healthy';
  return { ...health, state: 'cleared', sinceMs: nowMs };
}

function afterCanary(health: AgentHealth, canary: CanaryEnd, nowMs: number, rules: HealthRules): AgentHealth {
  const { canaryWantedMs: _wanted, canaryDueMs: _due, ...rest } = health;
  switch (canary.result) {
    case 'undecided':
      return { ...rest, canaryDueMs: nowMs + rules.canaryAgainMs };
    case 'succeeded':
      return {
        ...rest,
        state: 'cleared',
        isWithheld: false,
        sinceMs: nowMs,
        clearedAtMs: nowMs,
        clearedBy: 'canary',
      };
    case 'failed': {
      const because =
        health.state === 'suspected' ? health.reason : health.reason.replace(/; its canary failed.*$/s, '');
      return quarantined(rest, `${because}; its canary failed: ${canary.message}`, nowMs, rules);
    }
  }
}

function quarantined(health: AgentHealth, reason: string, nowMs: number, rules: HealthRules): AgentHealth {
  const rounds = health.rounds + 1;
  const { canaryBackoffMs: waits } = rules;
  const sinceMs = health.state === 'quarantined' ? health.sinceMs : nowMs;
  const canaryDueMs = nowMs + waits[Math.min(rounds, waits.length) - 1]!;
  return { ...health, state: 'quarantined', isWithheld: true, sinceMs, reason, rounds, canaryDueMs };
}
