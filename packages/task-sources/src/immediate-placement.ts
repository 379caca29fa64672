import type { AssignedAttempt, LeaseDraft } from '@drover/lease-kit';
import type { SessionRef } from '@drover/lease-store';

/** Places that are held for drafts until their commit is known. */
export interface PlacementReservation {
  /** By lease id: which session the lease may be bound to (`EnqueueEntry.bindTo`). Drafts without an entry wait. */
  readonly bindings: ReadonlyMap<string, SessionRef>;
  /** The commit happened: what the store answered is offered at once, and places it left unused are freed. */
  confirm(assigned: readonly AssignedAttempt[]): void;
  /**
   * The commit did not happen, or nobody knows. Frees the places; sessions that may have been bound to after all are
   * compared with the store. Harmless after {@link confirm}.
   */
  release(): void;
}

/**
 * Lets whoever submits leases in a server's own process bind them to agents that wait for work, so that enqueueing and
 * assigning are one commit and the offer leaves right after it. Only agents are given that were asked about last and for
 * which nothing suitable waited: a new lease never passes an older one that fits. `lease-server` implements it.
 */
export interface ImmediatePlacement {
  /** Holds places for as many of `drafts` as find one, in their order. Never blocks; the bindings may be empty. */
  reserve(drafts: readonly LeaseDraft[]): PlacementReservation;
}
