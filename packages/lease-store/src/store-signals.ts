/** Something changed that another server may be waiting for. A hint: it may come twice, late, or not at all. */
export type StoreSignal =
  /** A source may have work: leases were enqueued, given back or have fallen due. */
  | { readonly kind: 'work'; readonly source: string }
  /** An attempt bound to this agent is no longer wanted. */
  | { readonly kind: 'cancel'; readonly agentId: string }
  /** The agent has a newer session. */
  | { readonly kind: 'fenced'; readonly agentId: string; readonly epoch: number }
  /** A job's leases, attempts or progress changed. */
  | { readonly kind: 'job'; readonly jobId: string }
  /** Who may act as this agent has changed, or a machine asks to. */
  | { readonly kind: 'enrolment'; readonly agentId: string }
  /** A log has more bytes. */
  | { readonly kind: 'log'; readonly leaseId: string }
  /** A token was revoked. */
  | { readonly kind: 'token'; readonly tokenId: string }
  /** Pools, settings of agents or downtimes changed. */
  | { readonly kind: 'settings' }
  /** Signals may have been missed, e.g. while the connection that hears them was away: look at everything again. */
  | { readonly kind: 'resync' };

/**
 * Hints between servers. Announcing never blocks and never fails: signals are gathered for a few milliseconds, equal
 * ones once, and sent outside any transaction. Whoever listens polls as well.
 */
export interface StoreSignals {
  /** Call it after the commit that it speaks of. */
  announce(signal: StoreSignal): void;
  /** Calls `listener` for signals of every server, this one included. Returns how to stop. */
  listen(listener: (signal: StoreSignal) => void): () => void;
}
