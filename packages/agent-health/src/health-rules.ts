/** When an agent is suspected, and what follows. */
export interface HealthRules {
  /** Ends that are older say nothing. Default 2 h. */
  readonly windowMs: number;
  /** After so long an end weighs half. Default 30 min. */
  readonly halfLifeMs: number;
  /** Weight of evidence from which an agent is suspected. Default 2.5: three leases of late that succeeded elsewhere. */
  readonly threshold: number;
  /** Of the leases that it is compared by, an agent must have failed this share at least. Default 0.25. */
  readonly shareMin: number;
  /** And this many times the share that the other agents failed. Default 3. */
  readonly timesOthersMin: number;
  /** Successes of other agents from which a lease that was tried on one agent alone is evidence. Default 3. */
  readonly kindSuccessesMin: number;
  /** An agent that passed its canary and is suspected again within this time is quarantined at once. Default 1 h. */
  readonly relapseMs: number;
  /** Waits before the next canary of a quarantined agent; the last one repeats. Default 10 min, 1 h, 6 h. */
  readonly canaryBackoffMs: readonly number[];
  /** Wait before a canary that decided nothing (refused, cancelled) is wanted again. Default 1 min. */
  readonly canaryAgainMs: number;
}

/** What holds where nothing else is said. */
export const defaultHealthRules: HealthRules = {
  windowMs: 2 * 3_600_000,
  halfLifeMs: 30 * 60_000,
  threshold: 2.5,
  shareMin: 0.25,
  timesOthersMin: 3,
  kindSuccessesMin: 3,
  relapseMs: 3_600_000,
  canaryBackoffMs: [600_000, 3_600_000, 6 * 3_600_000],
  canaryAgainMs: 60_000,
};

/** Evidence that is kept of one agent: the newest. */
export const evidenceMax = 16;
