import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { readBootId, type ProcessIdentity } from './process-table.ts';

/** A process that was started, as the journal has it. */
export interface QuickEntry extends ProcessIdentity {
  readonly key: string;
}

/** What was started, a line each, in one file: one append a start, and nothing at an end. */
export interface QuickJournal {
  /** Of this boot; those of earlier runs of this program that it was opened with. */
  readonly earlier: readonly QuickEntry[];
  append(entry: QuickEntry): void;
  /** Only these are needed any more; rewrites the file when it has grown. */
  keep(live: () => Iterable<QuickEntry>): void;
  /** Earlier entries are dealt with. */
  forgetEarlier(): void;
  close(): void;
}

const fileBytesMax = 256 * 1024;

/**
 * Opens a journal. It is not flushed: it must outlive the agent, not the machine. Throws what the file system says.
 */
export function openQuickJournal(path: string): QuickJournal {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const fd = openSync(path, 'a+', 0o600);
  const bootId = readBootId() ?? '';
  const earlier = readEntries(path, bootId);
  let sizeBytes = fstatSync(fd).size;
  let isFirst = true;
  const write = (entries: Iterable<QuickEntry>): void => {
    const text = [...entries].map(({ key, pid, startTime }) => `${JSON.stringify([bootId, pid, startTime, key])}\n`);
    sizeBytes += writeSync(fd, text.join(''));
  };
  return {
    earlier,
    append: (entry) => write([entry]),
    keep(live) {
      // What an earlier run left is not known to be gone yet.
      if (isFirst || sizeBytes < fileBytesMax) return;
      ftruncateSync(fd, 0);
      sizeBytes = 0;
      write(live());
    },
    forgetEarlier() {
      isFirst = false;
      sizeBytes = fileBytesMax;
    },
    close: () => closeSync(fd),
  };
}

function readEntries(path: string, bootId: string): QuickEntry[] {
  const found: QuickEntry[] = [];
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    try {
      const [boot, pid, startTime, key] = JSON.parse(line) as unknown[];
      if (boot !== bootId || typeof pid !== 'number' || typeof startTime !== 'number') continue;
      if (typeof key === 'string') found.push({ pid, startTime, key });
    } catch {
      // Half a line of a killed agent, or the end of the file; its process carries the marker.
    }
  }
  return found;
}
