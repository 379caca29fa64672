import { DroverError, messageOf } from '@drover/lease-kit';
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

/** A log file and when another follows it. */
export interface LogFileOptions {
  /** Where lines are written. Files that are done stand beside it, with the time of their end behind the name. */
  readonly path: string;
  /** A file of this size is done. */
  readonly sizeBytesMax: number;
  /** A file whose first line is this old is done. */
  readonly ageMsMax: number;
  /** How many files that are done are kept; the oldest go. */
  readonly countMax: number;
}

/** What a log file works with. */
export interface LogFileDeps {
  /** Where lines go that the file does not take. */
  readonly fallback: { write(text: string): unknown };
  /** Milliseconds since the epoch; default Date.now. */
  readonly now?: () => number;
}

/** Lines in a file. Each is on its way to the disk when `write` returns, so that none is lost at the end of the process. */
export interface LogFile extends Disposable {
  /** Writes a line. Never throws: a line that the file does not take, of a full disk for one, goes to the fallback. */
  write(line: string): void;
  /** Opens the path anew, for somebody else may have moved the file away: logrotate(8). */
  reopen(): void;
}

/** How often the fallback is told why it gets lines. */
const tellMsMin = 60_000;
/** How long after a failed rotation the next one is tried. */
const rotateAgainMs = 60_000;

/**
 * Opens a log file, mode 640, and its folder if there is none. Another program may cut it (`copytruncate`) or move it away
 * (then `reopen`). Throws `LOG_FILE_UNWRITABLE`.
 */
export function openLogFile(options: LogFileOptions, deps: LogFileDeps): LogFile {
  return new RotatingFile(options, deps);
}

class RotatingFile implements LogFile {
  readonly #path: string;
  readonly #options: LogFileOptions;
  readonly #deps: Required<LogFileDeps>;
  #fd: number | undefined;
  #sizeBytes = 0;
  #bornMs = 0;
  /** The last write ended within a line. */
  #isTorn = false;
  #toldMs = -Infinity;
  #rotateAfterMs = -Infinity;

  constructor(options: LogFileOptions, deps: LogFileDeps) {
    this.#options = options;
    this.#deps = { now: Date.now, ...deps };
    this.#path = resolve(options.path);
    try {
      mkdirSync(dirname(this.#path), { recursive: true, mode: 0o750 });
      this.#open();
    } catch (error) {
      throw new DroverError({
        code: 'LOG_FILE_UNWRITABLE',
        advice: 'fix-input',
        message: `log.file: ${messageOf(error)}; allowed is a file in a folder that this user may write`,
        cause: error,
      });
    }
  }

  write(line: string): void {
    let bytes = Buffer.from(this.#isTorn ? `\n${line}` : line);
    try {
      this.#rotateIfDue();
      if (this.#fd === undefined) this.#open();
      if (this.#sizeBytes === 0) this.#bornMs = this.#deps.now();
      while (bytes.length > 0) {
        const written = writeSync(this.#fd!, bytes);
        this.#sizeBytes += written;
        this.#isTorn = written < bytes.length;
        bytes = bytes.subarray(written);
      }
    } catch (error) {
      this.#fallBack(line, error);
    }
  }

  reopen(): void {
    this.#close();
    try {
      this.#open();
    } catch (error) {
      this.#fallBack('', error);
    }
  }

  [Symbol.dispose](): void {
    this.#close();
  }

  #open(): void {
    // Appending: what another program cut, and what another process wrote, is not written over.
    this.#fd = openSync(this.#path, 'a', 0o640);
    const { size, birthtimeMs, mtimeMs } = fstatSync(this.#fd);
    this.#sizeBytes = size;
    this.#isTorn = false;
    // Not every file system knows when a file was made.
    this.#bornMs = birthtimeMs > 0 ? Math.min(birthtimeMs, mtimeMs) : mtimeMs;
  }

  #close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #rotateIfDue(): void {
    const now = this.#deps.now();
    const isDue = (): boolean =>
      this.#sizeBytes >= this.#options.sizeBytesMax ||
      (this.#sizeBytes > 0 && now - this.#bornMs >= this.#options.ageMsMax);
    if (this.#fd === undefined || now < this.#rotateAfterMs || !isDue()) return;
    const open = fstatSync(this.#fd);
    this.#sizeBytes = open.size;
    // It was cut meanwhile.
    if (!isDue()) return;
    const there = statSync(this.#path, { throwIfNoEntry: false });
    try {
      // Another process, or logrotate(8), may have moved it: then the file that stands there now is another.
      if (there !== undefined && there.ino === open.ino) {
        renameSync(this.#path, this.#nameOfDone(now));
        this.#removeOld();
      }
      this.#close();
    } catch (error) {
      // It goes on growing rather than losing lines.
      this.#rotateAfterMs = now + rotateAgainMs;
      this.#fallBack('', error);
    }
  }

  /** `agent.log.20261122T083411Z`: names sort by time. */
  #nameOfDone(now: number): string {
    const stamp = new Date(now).toISOString().replace(/[-:]|\.\d+/g, '');
    for (let count = 0; ; count += 1) {
      const path = `${this.#path}.${stamp}${count === 0 ? '' : `-${String(count).padStart(3, '0')}`}`;
      if (statSync(path, { throwIfNoEntry: false }) === undefined) return path;
    }
  }

  #removeOld(): void {
    const folder = dirname(this.#path);
    const start = `${basename(this.#path)}.`;
    const done = readdirSync(folder)
      .filter((name) => name.startsWith(start) && /^\d{8}T\d{6}Z(?:-\d{3,})?$/.test(name.slice(start.length)))
      .sort();
    for (const name of done.slice(0, -this.#options.countMax)) rmSync(join(folder, name), { force: true });
  }

  #fallBack(line: string, error: unknown): void {
    const now = this.#deps.now();
    if (now - this.#toldMs >= tellMsMin) {
      this.#toldMs = now;
      this.#deps.fallback.write(
        `the log file ${this.#path} cannot be written, its lines follow: ${messageOf(error)}\n`,
      );
    }
    if (line !== '') this.#deps.fallback.write(line);
  }
}
