import { closeSync, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';

/** Files that processes append their output to, one a process at a time, of which only the last bytes are wanted. */
export interface OutputFile {
  readonly path: string;
  /** Cuts what has become long, and keeps its last bytes in memory. */
  trim(): void;
  /** The last bytes that were written, and how many there were in all; the file is empty afterwards. */
  take(): { readonly tail: Uint8Array; readonly sizeBytes: number };
}

/** How much of a process's output is kept, from its end. */
export const outputTailBytes = 16 * 1024;
const fileBytesMax = 1024 * 1024;

/** The output files of one folder. They are used again and again: a process that writes nothing costs no file operation. */
export class OutputFiles {
  readonly #dir: string;
  readonly #free: (OutputFile & { close(): void })[] = [];
  readonly #all: (OutputFile & { close(): void })[] = [];
  #closed = false;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Throws what the file system says. */
  take(): OutputFile {
    const kept = this.#free.pop();
    if (kept) return kept;
    const made = openOutputFile(join(this.#dir, `${this.#all.length}.log`));
    this.#all.push(made);
    return made;
  }

  giveBack(file: OutputFile): void {
    const known = this.#all.find((one) => one === file);
    if (known && !this.#closed) this.#free.push(known);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const file of this.#all) file.close();
  }
}

function openOutputFile(path: string): OutputFile & { close(): void } {
  const fd = openSync(path, 'a+', 0o600);
  let kept: Uint8Array = new Uint8Array();
  let cutBytes = 0;
  let isOpen = true;
  const lastBytes = (sizeBytes: number): Uint8Array => {
    const wanted = Math.min(sizeBytes, outputTailBytes);
    const bytes = Buffer.alloc(wanted);
    const read = readSync(fd, bytes, 0, wanted, sizeBytes - wanted);
    const now = bytes.subarray(0, read);
    return now.length >= outputTailBytes || kept.length === 0
      ? now
      : Buffer.concat([kept, now]).subarray(-outputTailBytes);
  };
  const cut = (sizeBytes: number): void => {
    kept = lastBytes(sizeBytes);
    cutBytes += sizeBytes;
    // Whoever writes appends, and so goes on at the new end.
    ftruncateSync(fd, 0);
  };
  return {
    path,
    trim() {
      if (!isOpen) return;
      const { size } = fstatSync(fd);
      if (size > fileBytesMax) cut(size);
    },
    take() {
      if (!isOpen) return { tail: kept, sizeBytes: cutBytes };
      const { size } = fstatSync(fd);
      if (size > 0) cut(size);
      const taken = { tail: kept, sizeBytes: cutBytes };
      kept = new Uint8Array();
      cutBytes = 0;
      return taken;
    },
    close() {
      isOpen = false;
      closeSync(fd);
    },
  };
}
