import { messageOf, type Clock, type Logger, type ScheduledCall } from '@drover/lease-kit';
import type { AgentJournal } from './agent-journal.ts';
import type { JournalRecord } from './journal-record.ts';

/** Who is told how the disk fares. */
export interface DurableJournalDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The disk takes nothing, e.g. because it is full; called once until it does again, and then with undefined. */
  readonly onTrouble: (error: Error | undefined) => void;
}

/** Wait before a write that failed is tried again. */
const retryMs = 1_000;

/**
 * A journal that does not give up: a write that fails is tried again until the disk takes it. Nothing that depends on it
 * happens meanwhile, so that a full disk loses time and nothing else.
 */
export class DurableJournal {
  readonly #journal: AgentJournal;
  readonly #deps: DurableJournalDeps;
  #trouble = false;
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(journal: AgentJournal, deps: DurableJournalDeps) {
    this.#journal = journal;
    this.#deps = deps;
  }

  /** True while the disk takes nothing. */
  get inTrouble(): boolean {
    return this.#trouble;
  }

  /**
   * Adds records. Undefined: done. Otherwise resolves when they are as safe as asked for; rejects only if the journal is
   * closed before.
   */
  append(records: readonly JournalRecord[], durable: boolean): Promise<void> | undefined {
    if (this.#closed) return Promise.reject(new Error('the journal is closed'));
    try {
      const written = this.#journal.append(records, durable);
      if (!written) return undefined;
      return written.catch((error: unknown) => this.#again(records, durable, error));
    } catch (error) {
      return this.#again(records, durable, error);
    }
  }

  /** Closes the file; writes that wait are given up. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake?.();
    await this.#journal.close();
  }

  async #again(records: readonly JournalRecord[], durable: boolean, first: unknown): Promise<void> {
    let error = first;
    for (;;) {
      if (!this.#trouble) {
        this.#trouble = true;
        this.#deps.logger.error({ err: error }, `the journal cannot be written: ${messageOf(error)}`);
        this.#deps.onTrouble(error instanceof Error ? error : new Error(messageOf(error)));
      }
      await this.#pause();
      if (this.#closed) throw error;
      try {
        await this.#journal.append(records, durable);
        break;
      } catch (failure) {
        error = failure;
      }
    }
    if (!this.#trouble) return;
    this.#trouble = false;
    this.#deps.logger.info({}, 'the journal is written again');
    this.#deps.onTrouble(undefined);
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer: ScheduledCall = this.#deps.clock.schedule(retryMs, resolve);
      const before = this.#wake;
      this.#wake = () => {
        before?.();
        timer.cancel();
        resolve();
      };
      if (this.#closed) this.#wake();
    });
  }
}
