import type { AttemptKey } from './attempt-key.ts';

/** Where the server stands with an attempt. */
export type ServerLeaseState = 'offered' | 'accepted' | 'cancelling';

/**
 * Where the agent stands with an attempt. An attempt that it does not list has no state. `going-down`: accepted, and the
 * agent's process ends because of it.
 */
export type AgentLeaseState = 'accepted' | 'going-down' | 'refused' | 'finished';

/** One attempt in the server's copy. */
export interface ServerLease extends AttemptKey {
  readonly state: ServerLeaseState;
  /** Whether the engine puts the work itself beside the entry; false once the agent has acknowledged a copy with it. */
  readonly withWork: boolean;
}

/** One attempt in the agent's copy. `report` is what the agent says of its end or refusal; opaque to the machine. */
export interface AgentLease<Report = unknown> extends AttemptKey {
  readonly state: AgentLeaseState;
  /** Set when state is `refused` or `finished`. */
  readonly report?: Report;
}

/** The list of a copy, or the digest of one that the peer has acknowledged and that has not changed since. */
export type CopyList<Entry> =
  { readonly kind: 'whole'; readonly leases: readonly Entry[] } | { readonly kind: 'digest'; readonly digest: string };

/** What both ends' copies have in common. */
export interface CopyHeader {
  readonly sessionId: string;
  readonly epoch: number;
  /** The sender's; grows with every change of its list. The first copy of a session has revision 1. */
  readonly revision: number;
  /** The newest revision of the receiver that the sender has applied, persisted included; 0 for none. */
  readonly acknowledged: number;
  /** The sender could not resolve the receiver's last digest. */
  readonly wantsWhole: boolean;
}

/** What the server sends. */
export interface ServerCopy extends CopyHeader {
  readonly list: CopyList<ServerLease>;
}

/** What the agent sends. */
export interface AgentCopy<Report = unknown> extends CopyHeader {
  readonly list: CopyList<AgentLease<Report>>;
}
