import type { AttemptKey } from './attempt-key.ts';
import type { AgentCopy, ServerCopy } from './copies.ts';
import type { Guards } from './guards.ts';

/** An attempt that the journal of an earlier process proves. */
export interface JournalledAttempt<Report = unknown> extends AttemptKey {
  /** `accepted`: it may have run and has no end yet. `finished`: its end is journalled. */
  readonly state: 'accepted' | 'finished';
  readonly report?: Report;
  /** What to do with it when the server is out of reach for the session's time-out. */
  readonly cutOff: 'stop' | 'go-on';
}

/** A line of the journal. It must be on disk before the effect behind it in the list is carried out. */
export type JournalEntry<Report = unknown> =
  | { readonly kind: 'accepted'; readonly key: AttemptKey }
  | { readonly kind: 'finished'; readonly key: AttemptKey; readonly report: Report }
  /** The server has acknowledged the end, or disowned the attempt: nothing of it is needed any more. */
  | { readonly kind: 'dropped'; readonly key: AttemptKey };

/** Why a handler is stopped. */
export type StopCause = 'cancelled' | 'orphaned' | 'cut-off' | 'busy' | 'shutting-down';

/** Why an offer can only be refused. */
export type RefusalCause = 'stopping' | 'busy' | 'cancelled';

/** Why the server turned a session away. */
export type SessionRejection = 'fenced' | 'unknown' | 'protocol-violation' | 'quarantined';

/** What happens on the agent. */
export type AgentEvent<Report = unknown> =
  /** What the journal proves. Exactly once, first, also when it is empty. */
  | { readonly type: 'restored'; readonly attempts: readonly JournalledAttempt<Report>[]; readonly nowMs: number }
  | {
      readonly type: 'session-opened';
      readonly sessionId: string;
      readonly epoch: number;
      readonly heartbeatMs: number;
      readonly sessionTimeoutMs: number;
      /** When the request was sent that this answers: what the agent counts the time-out from. */
      readonly sentAtMs: number;
      readonly nowMs: number;
    }
  /** Opening a session failed for now; the engine tells the machine again after its back-off by `tick`. */
  | { readonly type: 'session-failed'; readonly nowMs: number }
  | { readonly type: 'session-rejected'; readonly reason: SessionRejection; readonly nowMs: number }
  | { readonly type: 'link-opened'; readonly nowMs: number }
  | { readonly type: 'link-lost'; readonly nowMs: number }
  | { readonly type: 'copy-received'; readonly copy: ServerCopy; readonly nowMs: number }
  /** The engine's answer to `consider`. */
  | { readonly type: 'considered'; readonly key: AttemptKey; readonly cutOff: 'stop' | 'go-on' }
  | { readonly type: 'considered'; readonly key: AttemptKey; readonly refusal: Report }
  | { readonly type: 'journalled'; readonly writeId: number }
  /** A handler has returned. */
  | { readonly type: 'handler-ended'; readonly key: AttemptKey; readonly report: Report }
  /** The handler of an attempt says that this process ends because of it; answered by `told-going-down`. */
  | { readonly type: 'going-down'; readonly key: AttemptKey }
  /** The operator wants the agent to stop: finish what runs (`drain`) or stop it (`cancel`). */
  | { readonly type: 'stop-wished'; readonly how: 'drain' | 'cancel' }
  /** The machine is needed for something else, or no longer. */
  | { readonly type: 'busy'; readonly busy: boolean }
  | { readonly type: 'tick'; readonly nowMs: number };

/** What the engine does on the agent, in the order of the list. */
export type AgentEffect<Report = unknown> =
  /** Open a session with this proof; answered by one of the `session-*` events. */
  | {
      readonly type: 'open-session';
      readonly proven: readonly AttemptKey[];
      /** Those of them of which this process has said that it goes down. */
      readonly goingDown: readonly AttemptKey[];
    }
  /** Open a link for the session; answered by `link-opened` or `link-lost`. */
  | { readonly type: 'open-link' }
  | { readonly type: 'close-link' }
  /**
   * Decide whether this machine takes the attempt (type known, payload readable, capacity); answer `considered`. With
   * `mustRefuse` only a refusal is accepted as the answer; the same attempt may be put a second time to say so.
   */
  | { readonly type: 'consider'; readonly key: AttemptKey; readonly mustRefuse?: RefusalCause }
  | { readonly type: 'journal'; readonly writeId: number; readonly entries: readonly JournalEntry<Report>[] }
  | { readonly type: 'start'; readonly key: AttemptKey }
  /** Take up an attempt of an earlier process: the handler's `resume`, never `run`. */
  | { readonly type: 'resume'; readonly key: AttemptKey }
  | { readonly type: 'stop'; readonly key: AttemptKey; readonly cause: StopCause }
  | { readonly type: 'send'; readonly copy: AgentCopy<Report> }
  /** A server has persisted that the agent goes down because of the attempt: tell its handler. */
  | { readonly type: 'told-going-down'; readonly key: AttemptKey }
  /** The attempt is settled: remove its folder, logs and resources. */
  | { readonly type: 'forget'; readonly key: AttemptKey }
  /**
   * Nothing follows: the process ends. `drained`: all work is settled. `going-down`: all but what goes down with the process;
   * the next one resumes that. `fenced`: another machine has this identity.
   */
  | { readonly type: 'exit'; readonly reason: 'drained' | 'going-down' | 'fenced' | 'quarantined' };

/** Times and bounds of the agent's machine. */
export interface AgentMachineOptions {
  /** At most this many attempts at once; offers beyond it wait. */
  readonly leasesMax: number;
  /** Digest of a canonical text; the same function at both ends. */
  readonly digest: (text: string) => string;
  /** Wait between attempts to open a session or a link: doubled from min to max; the engine adds jitter. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /**
   * How long news of an acceptance alone may wait for company: work that ends sooner costs one message and one write in
   * place of two. Default 25.
   */
  readonly acceptanceDelayMs?: number;
  /** Absent means all of them. Only the exhaustive check leaves one out. */
  readonly guards?: Guards;
}
