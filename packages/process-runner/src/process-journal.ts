import { DroverError, messageOf } from '@drover/lease-kit';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What is on disk about one run: written before the process starts, completed with its identity right after. */
export interface JournalEntry {
  readonly key: string;
  /** Undefined in an entry whose agent died between the start and the next write, and where there is no boot id. */
  readonly bootId: string | undefined;
  readonly pid: number | undefined;
  readonly startTime: number | undefined;
  readonly cgroupDir: string | undefined;
  readonly spoolPath: string;
  readonly startedAtMs: number;
}

/** The entries of a state folder, one file each. */
export interface ProcessJournal {
  /** Replaces the entry of the same key in one step; throws `PROCESS_JOURNAL_UNWRITABLE` (`unavailable`). */
  write(entry: JournalEntry): void;
  read(key: string): JournalEntry | undefined;
  /** All entries; one that cannot be read is left out: only a power cut leaves one, and that ended its process too. */
  list(): JournalEntry[];
  remove(key: string): void;
}

/** A name for files and groups that belongs to one key. */
export function keyDigest(key: string): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 32);
}

/**
 * Opens the journal in a folder. Files are renamed into place but not flushed: they must outlive the agent, not the
 * machine, since no process outlives the machine.
 */
export function openProcessJournal(dir: string): ProcessJournal {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const pathOf = (key: string) => join(dir, `${keyDigest(key)}.json`);
  return {
    write(entry) {
      const path = pathOf(entry.key);
      try {
        writeFileSync(`${path}.new`, JSON.stringify(entry), { mode: 0o600 });
        renameSync(`${path}.new`, path);
      } catch (error) {
        rmSync(`${path}.new`, { force: true });
        throw new DroverError({
          code: 'PROCESS_JOURNAL_UNWRITABLE',
          advice: 'unavailable',
          message: `The process journal in ${dir} cannot be written: ${messageOf(error)}`,
          cause: error,
        });
      }
    },
    read: (key) => readEntry(pathOf(key)),
    list() {
      const names = readdirSync(dir).filter((name) => name.endsWith('.json'));
      return names.map((name) => readEntry(join(dir, name))).filter((entry) => entry !== undefined);
    },
    remove: (key) => rmSync(pathOf(key), { force: true }),
  };
}

function readEntry(path: string): JournalEntry | undefined {
  let value: Partial<JournalEntry>;
  try {
    value = JSON.parse(readFileSync(path, 'utf8')) as Partial<JournalEntry>;
  } catch {
    return undefined;
  }
  if (typeof value.key !== 'string' || typeof value.spoolPath !== 'string') return undefined;
  return {
    key: value.key,
    bootId: value.bootId,
    pid: value.pid,
    startTime: value.startTime,
    cgroupDir: value.cgroupDir,
    spoolPath: value.spoolPath,
    startedAtMs: value.startedAtMs ?? 0,
  };
}
