import type { AttemptKey } from './attempt-key.ts';
import type { AgentCopy, ServerCopy, ServerLeaseState } from './copies.ts';
import type { Guards } from './guards.ts';

/** How an attempt ended, as the server persists it. `reported` carries the agent's own report. */
export type AttemptEnding<Report = unknown> =
  | { readonly kind: 'reported'; readonly report: Report }
  | { readonly kind: 'refused'; readonly report: Report }
  /** The agent does not have it and had the chance to: it may have run. */
  | { readonly kind: 'lost' }
  /** Nobody took it in time: the agent may be about to. */
  | { readonly kind: 'not-started' }
  /** Cancelled before the agent was ever told of it. */
  | { readonly kind: 'cancelled-unoffered' };

/** A change that must be persisted, fenced by the session's epoch, before anything that follows from it is said. */
export type ServerWrite<Report = unknown> =
  | {
      readonly kind: 'acceptance';
      readonly key: AttemptKey;
      /** The agent goes down because of it. */
      readonly goingDown?: true;
    }
  | {
      readonly kind: 'end';
      readonly key: AttemptKey;
      readonly ending: AttemptEnding<Report>;
      /** The server had wished to cancel it: it is never retried. */
      readonly cancelWished: boolean;
    };

/** An attempt that the store has bound to this session. */
export interface BoundAttempt extends AttemptKey {
  readonly state: ServerLeaseState;
  /** How long an offer of it may wait for the agent to take it; absent means as long as the session lasts. */
  readonly startMsMax?: number;
}

/** Why a server ends a session. */
export type SessionEnd =
  'fenced' | 'expired' | 'protocol-violation' | 'too-many-leases' | 'store-lost' | 'server-stopping';

/** What happens to a session on the server. */
export type ServerEvent<Report = unknown> =
  /** The store's whole list of attempts of this epoch; nothing is sent before it. Exactly once. */
  | { readonly type: 'loaded'; readonly attempts: readonly BoundAttempt[]; readonly nowMs: number }
  /** The store has bound new attempts to this epoch. `nowMs`: absent where none of them has a time to start in. */
  | { readonly type: 'assigned'; readonly attempts: readonly BoundAttempt[]; readonly nowMs?: number }
  /** The store has recorded that an attempt is no longer wanted. Unknown keys are ignored. */
  | { readonly type: 'cancel-wished'; readonly key: AttemptKey }
  /** The agent has opened a link (a stream or a poll) for this session. */
  | { readonly type: 'link-opened'; readonly nowMs: number }
  | { readonly type: 'link-lost'; readonly nowMs: number }
  | { readonly type: 'copy-received'; readonly copy: AgentCopy<Report>; readonly nowMs: number }
  /**
   * A write has been persisted, or refused because the epoch is old. `unknown`: the store is away for longer than the
   * engine tries again, so nobody can say; the session ends as `store-lost` and the next one loads what was persisted.
   */
  | { readonly type: 'written'; readonly writeId: number; readonly result: 'persisted' | 'fenced' | 'unknown' }
  /** A newer session of the agent exists. */
  | { readonly type: 'fenced' }
  /** The server process stops: end the session without ending its attempts. */
  | { readonly type: 'stopping' }
  | { readonly type: 'tick'; readonly nowMs: number };

/** What the engine does for a session, in the order of the list. */
export type ServerEffect<Report = unknown> =
  /** Persist all of `writes` in order, then say so with `written`. */
  | { readonly type: 'write'; readonly writeId: number; readonly writes: readonly ServerWrite<Report>[] }
  | { readonly type: 'send'; readonly copy: ServerCopy }
  /** An end has been persisted: tell the source, free what the attempt held. */
  | { readonly type: 'settled'; readonly key: AttemptKey; readonly ending: AttemptEnding<Report> }
  /** Nothing follows. On `expired` the engine ends the session in the store; its attempts end as lost there. */
  | { readonly type: 'end-session'; readonly reason: SessionEnd; readonly message: string };

/** Times and bounds of the server's machine. */
export interface ServerMachineOptions {
  readonly sessionId: string;
  readonly epoch: number;
  /** Say something after this much silence of our own. */
  readonly heartbeatMs: number;
  /** The session expires when no copy has come for this long, link or not (grace included). */
  readonly sessionTimeoutMs: number;
  /** At most this many attempts in a list. */
  readonly leasesMax: number;
  /** Digest of a canonical text; the same function at both ends. */
  readonly digest: (text: string) => string;
  /** Absent means all of them. Only the exhaustive check leaves one out. */
  readonly guards?: Guards;
}
