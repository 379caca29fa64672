import type { ChangeNote } from './change.ts';
import type { StoreContext } from './store-context.ts';

/** A line of the audit to write; who did it is the context's principal, and when is the store's time. */
export interface AuditDraft extends ChangeNote {
  /** `kind:id` of who did it. */
  readonly who: string;
  /** How they were recognized. */
  readonly credential: string;
  /** IP address that it came from; empty: not known. */
  readonly address: string;
  /** What was done, e.g. `token.create`. */
  readonly action: string;
}

/** A line of the audit. */
export interface AuditEntry extends AuditDraft {
  /** Grows with time; a decimal number. */
  readonly entryId: string;
  readonly atMs: number;
}

/** Which lines are asked for; an absent part fits every line. */
export interface AuditQuery {
  /** The last entry id of the page before. */
  readonly before?: string;
  readonly limit: number;
  readonly sinceMs?: number;
  readonly untilMs?: number;
  /** `kind:id`, or the id alone. */
  readonly who?: string;
  /** The action, or the part before its dot. */
  readonly action?: string;
  /** The subject, or the part before its colon. */
  readonly subject?: string;
}

/** What people and programs have changed. Lines are added and never changed; they go when their time of retention is over. */
export interface AuditStore {
  /** Adds lines, all or none, at most 1,000. */
  append(entries: readonly AuditDraft[], context: StoreContext): Promise<void>;
  /** Newest first. */
  entries(query: AuditQuery, context: StoreContext): Promise<readonly AuditEntry[]>;
}
