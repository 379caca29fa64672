import type { AuditDraft, AuditEntry, AuditStore } from '../audit-store.ts';
import type { ChangeNote } from '../change.ts';
import { auditDraftOf, auditText, checkAuditDrafts, checkAuditQuery } from '../check-access-input.ts';
import type { StoreContext } from '../store-context.ts';
import type { MemoryData } from './memory-data.ts';

/** Lines that are kept, the newest ones. */
const linesMax = 10_000;

/** The audit of a memory store, for its other parts too. */
export class MemoryAudit {
  readonly #data: MemoryData;
  readonly #lines: AuditEntry[] = [];
  #nextId = 1;

  constructor(data: MemoryData) {
    this.#data = data;
  }

  /** Writes what a change did, where it is a person's. */
  write(context: StoreContext, note: ChangeNote): void {
    const draft = auditDraftOf(context, note);
    if (draft === undefined) return;
    this.add([draft]);
    context.change?.wroteNote();
  }

  add(drafts: readonly AuditDraft[]): void {
    checkAuditDrafts(drafts);
    for (const { before, after, ...rest } of drafts) {
      this.#lines.push({
        ...rest,
        entryId: String(this.#nextId++),
        atMs: this.#data.clock.wallMs(),
        ...(before === undefined ? {} : { before: kept(before) }),
        ...(after === undefined ? {} : { after: kept(after) }),
      });
    }
    this.#lines.splice(0, Math.max(0, this.#lines.length - linesMax));
  }

  get lines(): readonly AuditEntry[] {
    return this.#lines;
  }
}

function kept(record: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return JSON.parse(auditText(record)!) as Record<string, unknown>;
}

/** The audit of a memory store. */
export function memoryAuditStore(data: MemoryData, audit: MemoryAudit): AuditStore {
  return {
    append: async (entries, context) => {
      data.enter(context);
      audit.add(entries);
    },
    entries: async (query, context) => {
      data.enter(context);
      checkAuditQuery(query);
      const { before, sinceMs = 0, untilMs = Infinity, who, action, subject, limit } = query;
      return audit.lines
        .filter((line) => before === undefined || BigInt(line.entryId) < BigInt(before))
        .filter((line) => line.atMs >= sinceMs && line.atMs < untilMs)
        .filter((line) => who === undefined || line.who === who || afterMark(line.who, ':') === who)
        .filter((line) => action === undefined || line.action === action || beforeMark(line.action, '.') === action)
        .filter(
          (line) => subject === undefined || line.subject === subject || beforeMark(line.subject, ':') === subject,
        )
        .slice(-limit)
        .reverse();
    },
  };
}

function beforeMark(text: string, mark: string): string {
  return text.split(mark, 1)[0] ?? '';
}

function afterMark(text: string, mark: string): string {
  return text.slice(text.indexOf(mark) + 1);
}
