import { closeSync, fdatasync, fsyncSync, ftruncateSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { DroverError } from '@drover/lease-kit';
import { keyString, type AttemptKey } from '@drover/reconciler-state-machine';
import { decodeRecords, encodeRecords, journalMagic, type JournalRecord } from './journal-record.ts';

const fdatasyncAsync = promisify(fdatasync);

/** What the journal proves of one attempt. */
export interface ProvenAttempt {
  readonly key: AttemptKey;
  readonly cutOff: 'stop' | 'go-on';
  /** The ServerLease, for types that can be resumed. */
  readonly work?: Uint8Array;
  /** The AgentLease that tells the end, once the handler has returned. */
  readonly report?: Uint8Array;
  /** The end may be told: its logs are uploaded. */
  readonly finished: boolean;
}

/** The file calls that a journal makes, so that a test can make them fail as a disk does. */
export interface JournalDisk {
  write(fd: number, bytes: Uint8Array, position: number): number;
  sync(fd: number): Promise<void>;
}

const disk: JournalDisk = {
  write: (fd, bytes, position) => writeSync(fd, bytes, 0, bytes.length, position),
  sync: (fd) => fdatasyncAsync(fd),
};

/** A journal is written anew when it is larger than this and mostly out of date. */
const compactAboveBytes = 4 * 1024 * 1024;

/**
 * What the agent has promised, on disk: an append-only file of checksummed records. A record is in the operating system's
 * hands when {@link append} returns, which outlives the process; one that must outlive the machine is on the disk when the
 * promise resolves. It is compacted when it is opened and when it has grown.
 */
export class AgentJournal {
  readonly #path: string;
  readonly #disk: JournalDisk;
  readonly #live = new Map<string, ProvenAttempt>();
  #fd: number;
  #sizeBytes = 0;
  #liveBytes = 0;
  #syncing: Promise<void> | undefined;
  #nextSync: Promise<void> | undefined;
  #damaged = false;

  private constructor(path: string, calls: JournalDisk) {
    this.#path = path;
    this.#disk = calls;
    this.#fd = -1;
  }

  /**
   * Reads what is there, drops a torn tail, and writes it anew. `droppedBytes` says how much could not be read. Throws
   * `JOURNAL_UNKNOWN` for a file of another format, and leaves it alone.
   */
  static open(
    path: string,
    calls: JournalDisk = disk,
  ): { readonly journal: AgentJournal; readonly droppedBytes: number } {
    const journal = new AgentJournal(path, calls);
    const bytes = readIfThere(path);
    // Shorter than its mark: the process that made it was cut off before it had promised anything.
    if (bytes.length >= journalMagic.length && !bytes.subarray(0, journalMagic.length).equals(journalMagic)) {
      throw new DroverError({
        code: 'JOURNAL_UNKNOWN',
        advice: 'conflict',
        message:
          `${path} is no journal that this version reads, so that nobody can say which attempts this agent has; run the ` +
          'version that wrote it, or move the file away if none of its work matters',
      });
    }
    const { records, readableBytes } = decodeRecords(bytes);
    for (const record of records) journal.#apply(record);
    journal.#compact();
    return { journal, droppedBytes: bytes.length - readableBytes };
  }

  /** Every attempt that is not dropped, oldest first. */
  get proven(): readonly ProvenAttempt[] {
    return [...this.#live.values()];
  }

  /**
   * Adds records, all or none. With `durable`, resolves when they would survive a loss of power; otherwise at once. Throws
   * what the file system throws; the same records may then be added again.
   */
  append(records: readonly JournalRecord[], durable: boolean): Promise<void> | undefined {
    if (this.#damaged || (this.#sizeBytes > compactAboveBytes && this.#sizeBytes > 4 * this.#liveBytes)) {
      if (this.#syncing === undefined) this.#compact();
      else if (this.#damaged) throw new Error('the journal is damaged and the disk is busy');
    }
    this.#write(encodeRecords(records));
    for (const record of records) this.#apply(record);
    return durable ? this.#sync() : undefined;
  }

  /** Closes the file, when what is on its way to the disk is there. */
  async close(): Promise<void> {
    while (this.#syncing) await this.#syncing.catch(() => undefined);
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  #write(bytes: Uint8Array): void {
    let done = 0;
    try {
      while (done < bytes.length) done += this.#disk.write(this.#fd, bytes.subarray(done), this.#sizeBytes + done);
    } catch (error) {
      // Half a record must not stand in front of whole ones.
      if (done > 0) {
        try {
          ftruncateSync(this.#fd, this.#sizeBytes);
        } catch {
          this.#damaged = true;
        }
      }
      throw error;
    }
    this.#sizeBytes += bytes.length;
  }

  /** A call that comes while the disk is busy shares the next sync with all that come meanwhile. */
  #sync(): Promise<void> {
    if (!this.#syncing) {
      this.#syncing = this.#syncNow().finally(() => {
        this.#syncing = this.#nextSync;
        this.#nextSync = undefined;
      });
      return this.#syncing;
    }
    this.#nextSync ??= this.#syncing
      .catch(() => undefined)
      .then(() => this.#syncNow())
      .finally(() => {
        this.#syncing = this.#nextSync;
        this.#nextSync = undefined;
      });
    return this.#nextSync;
  }

  async #syncNow(): Promise<void> {
    // A kernel reports a lost page once: a sync behind one that failed would succeed without what was lost.
    if (this.#damaged) throw new Error('the journal is damaged: an earlier sync of the file failed');
    try {
      await this.#disk.sync(this.#fd);
    } catch (error) {
      // The kernel may have forgotten the pages that it could not write: only a new file is known to be whole.
      this.#damaged = true;
      throw error;
    }
  }

  #apply(record: JournalRecord): void {
    const name = keyString(record.key);
    const before = this.#live.get(name);
    if (record.kind === 'dropped') {
      if (before) this.#liveBytes -= sizeOf(before);
      this.#live.delete(name);
      return;
    }
    const after: ProvenAttempt =
      record.kind === 'accepted'
        ? { key: record.key, cutOff: record.cutOff, finished: false, ...(record.work ? { work: record.work } : {}) }
        : {
            // Work is not needed for an attempt that has ended.
            key: record.key,
            cutOff: before?.cutOff ?? 'go-on',
            finished: record.kind === 'finished',
            ...(record.report ? { report: record.report } : before?.report ? { report: before.report } : {}),
          };
    this.#liveBytes += sizeOf(after) - (before ? sizeOf(before) : 0);
    this.#live.set(name, after);
  }

  #compact(): void {
    const next = `${this.#path}.next`;
    const fd = openSync(next, 'w', 0o600);
    const records = [...this.#live.values()].flatMap(recordsOf);
    const bytes = Buffer.concat([journalMagic, encodeRecords(records)]);
    try {
      let done = 0;
      while (done < bytes.length) done += this.#disk.write(fd, bytes.subarray(done), done);
      fsyncSync(fd);
      renameSync(next, this.#path);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    syncFolder(dirname(this.#path));
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = fd;
    this.#sizeBytes = bytes.length;
    this.#damaged = false;
  }
}

function recordsOf(proven: ProvenAttempt): JournalRecord[] {
  const { key, cutOff, work, report, finished } = proven;
  if (finished) return [{ kind: 'finished', key, ...(report ? { report } : {}) }];
  const accepted: JournalRecord = { kind: 'accepted', key, cutOff, ...(work ? { work } : {}) };
  return report ? [accepted, { kind: 'ended', key, report }] : [accepted];
}

const sizeOf = (proven: ProvenAttempt): number => 64 + (proven.work?.length ?? 0) + (proven.report?.length ?? 0);

function readIfThere(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Buffer.alloc(0);
    throw error;
  }
}

/** A rename is on the disk when its folder is. */
function syncFolder(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
