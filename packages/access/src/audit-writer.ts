import { messageOf, silentLogger, type Logger } from '@drover/lease-kit';
import type { AuditDraft, AuditStore } from '@drover/lease-store';

/** Who works together in an {@link AuditWriter}. */
export interface AuditWriterDeps {
  readonly audit: Pick<AuditStore, 'append'>;
  /** Gets the lines that the store did not take. Default: silence. */
  readonly logger?: Logger;
}

const linesPerCallMax = 1_000;
const principal = { kind: 'service', id: 'audit' } as const;

/**
 * Group commit for the audit: lines that come while a write is under way share the next one. A line that the store does not
 * take twice goes to the log as an error: what it tells of has happened, and saying otherwise to the caller would make him do
 * it again.
 */
export class AuditWriter {
  readonly #deps: AuditWriterDeps;
  #waiting: AuditDraft[] = [];
  #writing: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(deps: AuditWriterDeps) {
    this.#deps = deps;
  }

  /** Resolves when the lines are stored, or in the log. */
  append(lines: readonly AuditDraft[]): Promise<void> {
    this.#waiting.push(...lines);
    this.#next ??= (this.#writing ?? Promise.resolve()).then(() => {
      const batch = this.#waiting;
      this.#waiting = [];
      this.#next = undefined;
      this.#writing = this.#write(batch).finally(() => (this.#writing = undefined));
      return this.#writing;
    });
    return this.#next;
  }

  async #write(lines: readonly AuditDraft[]): Promise<void> {
    for (let at = 0; at < lines.length; at += linesPerCallMax) {
      const part = lines.slice(at, at + linesPerCallMax);
      const store = (): Promise<void> => this.#deps.audit.append(part, { principal });
      await store()
        .catch(store)
        .catch((error: unknown) => {
          for (const line of part) {
            (this.#deps.logger ?? silentLogger).error(
              { audit: line, err: messageOf(error) },
              'a line of the audit was not stored',
            );
          }
        });
    }
  }
}
