/** An attempt of a job's lease that ended badly: failed, timed out, lost, or completed with work that did not succeed. */
export interface BadEnd {
  readonly agentId: string;
  readonly leaseId: string;
  readonly attempt: number;
  /** Names the leases that it is compared with: those of one job that ask for the same. */
  readonly kind: string;
  /** Of the lease, for people. */
  readonly name: string;
  readonly endedAtMs: number;
  readonly outcome: 'failed' | 'timed-out' | 'lost' | 'completed';
  /** Code of the reason; empty where none was given. */
  readonly code: string;
  /** The agent on which the lease succeeded in the end. Absent: on none so far. */
  readonly succeededOn?: string;
}

/** How many leases of a kind succeeded on one agent. */
export interface KindSuccesses {
  readonly kind: string;
  readonly agentId: string;
  readonly leases: number;
}

/** What is known of how leases ended lately, on one clock. */
export interface LeaseFacts {
  readonly nowMs: number;
  /** Newest first. */
  readonly ends: readonly BadEnd[];
  /** Of the kinds of those ends. */
  readonly successes: readonly KindSuccesses[];
}
