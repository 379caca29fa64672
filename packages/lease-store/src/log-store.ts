import type { SessionRef } from './lease-queue.ts';
import type { StoreContext } from './store-context.ts';

/** Names one log of one attempt. */
export interface LogRef {
  readonly leaseId: string;
  readonly attempt: number;
  /** At most 256 characters. */
  readonly log: string;
}

/** Bytes for a log. */
export interface LogAppend extends LogRef, SessionRef {
  readonly offset: number;
  /** At most 256 KiB. */
  readonly data: Uint8Array;
  /** No bytes will follow. */
  readonly complete: boolean;
}

/** Logs of attempts, addressed by offset. At most 256 logs an attempt and 64 MiB a log: LOG_FULL beyond. */
export interface LogStore {
  /**
   * Adds bytes and answers how many the log then has. Bytes that it has already are skipped, so repeating is harmless;
   * an offset beyond its end adds nothing (the answer says where to go on). Fenced by the session, for attempts that
   * are bound to it.
   */
  append(entry: LogAppend, context: StoreContext): Promise<{ readonly committedBytes: number }>;
  /** Bytes from an offset, at most `limitBytes`, and whether the log is complete. An unknown log is empty. */
  read(
    ref: LogRef,
    range: { readonly offset: number; readonly limitBytes: number },
    context: StoreContext,
  ): Promise<{ readonly data: Uint8Array; readonly sizeBytes: number; readonly complete: boolean }>;
  /** The logs of an attempt, by name. */
  list(
    attempt: { readonly leaseId: string; readonly attempt: number },
    context: StoreContext,
  ): Promise<readonly { readonly log: string; readonly sizeBytes: number; readonly complete: boolean }[]>;
}
