import { fromJsonString, toJsonString } from '@bufbuild/protobuf';
import { CompileAuditSchema, type CompileAudit } from '@drover/compile-protocol';
import { silentLogger, type Logger } from '@drover/lease-kit';
import { appendFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Records that wait at most; beyond, the oldest go, and it is told. */
const recordsMax = 100_000;
const batchMax = 1_000;
/** The file is written anew when so many lines of it were told. */
const toldLinesMax = 10_000;

/** Records of compiles that the scheduler was not told yet; they stand on disk until it was. */
export class AuditOutbox {
  readonly #path: string;
  readonly #logger: Logger;
  readonly #waiting: CompileAudit[];
  #told = 0;

  /** Takes up what an earlier process left in the folder, which is made. Throws the system's errors. */
  constructor(folder: string, logger: Logger = silentLogger) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#path = join(folder, 'waiting.jsonl');
    this.#logger = logger;
    this.#waiting = readRecords(this.#path).slice(-recordsMax);
    this.#rewrite();
  }

  /** How many wait. */
  get size(): number {
    return this.#waiting.length;
  }

  /** Keeps a record until it was told. Never throws: what cannot be written is kept in memory. */
  add(audit: CompileAudit): void {
    this.#waiting.push(audit);
    if (this.#waiting.length > recordsMax) {
      this.#waiting.shift();
      this.#logger.error({ recordsMax }, 'the scheduler is away for long: the oldest record of a compile is given up');
    }
    try {
      appendFileSync(this.#path, `${toJsonString(CompileAuditSchema, audit)}\n`, { mode: 0o600 });
    } catch (error) {
      this.#logger.error({ err: error }, 'a record of a compile cannot be written; it is kept in memory');
    }
  }

  /** Tells all that wait, in batches; those of a batch that `tell` rejects stay, and its error is thrown. */
  async flush(tell: (batch: CompileAudit[]) => Promise<unknown>): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.slice(0, batchMax);
      await tell(batch);
      const first = batch[0];
      // What was given up meanwhile is not there to be taken away.
      const from = first === this.#waiting[0] ? batch.length : this.#waiting.indexOf(batch.at(-1)!) + 1;
      this.#waiting.splice(0, from);
      this.#told += batch.length;
      if (this.#waiting.length === 0 || this.#told >= toldLinesMax) this.#rewrite();
    }
  }

  #rewrite(): void {
    const text = this.#waiting.map((audit) => `${toJsonString(CompileAuditSchema, audit)}\n`).join('');
    try {
      writeFileSync(`${this.#path}.new`, text, { mode: 0o600 });
      renameSync(`${this.#path}.new`, this.#path);
      this.#told = 0;
    } catch (error) {
      this.#logger.error({ err: error }, 'records of compiles cannot be written');
    }
  }
}

function readRecords(path: string): CompileAudit[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return text.split('\n').flatMap((line) => {
    try {
      return line === '' ? [] : [fromJsonString(CompileAuditSchema, line)];
    } catch {
      // The last line of a process that was killed while it wrote.
      return [];
    }
  });
}
