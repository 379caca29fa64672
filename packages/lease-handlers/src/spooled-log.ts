import { open, stat, type FileHandle } from 'node:fs/promises';
import { DroverError, type AttemptLog } from '@drover/lease-kit';
import type { SecretMask } from '@drover/lease-secrets';
import type { AttemptName } from './attempt-folder.ts';

/** Largest spool that {@link AttemptLog.write} makes: 1 GiB. */
export const spoolSizeBytesMax = 1024 ** 3;

/** Pieces of {@link SpooledLog.content}: longer than any secret, so that each shows something. */
const contentPieceBytes = 256 * 1024;

/** What must not show in the logs of an attempt. */
export interface LogGuard {
  /** Absent: nothing is secret. */
  readonly mask: SecretMask | undefined;
  /** There are secrets that are not known yet. */
  readonly withheld: boolean;
}

/** What a spool tells its uploader. */
export interface SpoolListener {
  /** Bytes were added, or no more will be: there is something to upload. */
  changed(log: SpooledLog): void;
  /** Somebody else may write the file: its size must be watched. */
  shared(log: SpooledLog): void;
}

/**
 * A log on disk on its way to the server. The file is the truth: bytes are read back from it for the upload, so that what a
 * child process or a crash left there is carried like everything else.
 */
export class SpooledLog implements AttemptLog {
  readonly owner: AttemptName;
  readonly name: string;
  readonly file: string;
  /** How much of the file the server keeps; undefined until it was asked. */
  committedBytes: number | undefined;
  /** How much of the file is known to exist. */
  knownBytes = 0;
  /** No bytes will follow. */
  ending = false;
  /** The server has it all, or will never have the rest. */
  settled = false;
  readonly #guard: LogGuard;
  /** Bytes that belong to a secret which was found in the piece before, by the offset at which they start. */
  #hidden: ReadonlyMap<number, number> = new Map();
  readonly #listener: SpoolListener;
  #writer: FileHandle | undefined;
  #writing: Promise<unknown> = Promise.resolve();
  #reader: FileHandle | undefined;
  readonly #waiters: (() => void)[] = [];
  #shared = false;

  /** `left`: an earlier process wrote it, and the server knows how much of it it has. */
  constructor(owner: AttemptName, name: string, file: string, listener: SpoolListener, guard: LogGuard, left: boolean) {
    this.#guard = guard;
    this.owner = owner;
    this.name = name;
    this.file = file;
    this.committedBytes = left ? undefined : 0;
    this.#listener = listener;
  }

  get path(): string {
    if (!this.#shared) {
      this.#shared = true;
      this.#listener.shared(this);
    }
    return this.file;
  }

  write(data: string | Uint8Array): Promise<void> {
    const done = this.#writing.then(async () => {
      if (this.ending) {
        throw new DroverError({
          code: 'LOG_COMPLETE',
          advice: 'conflict',
          message: `log ${this.name} of ${this.owner.leaseId} is complete and takes no more bytes`,
        });
      }
      const bytes = typeof data === 'string' ? Buffer.from(data) : data;
      this.#writer ??= await open(this.file, 'a', 0o600);
      if (this.knownBytes + bytes.length > spoolSizeBytesMax) {
        throw new DroverError({
          code: 'LOG_FULL',
          advice: 'exhausted',
          message: `log ${this.name} of ${this.owner.leaseId} has ${this.knownBytes} bytes, at most ${spoolSizeBytesMax}`,
        });
      }
      await this.#writer.appendFile(bytes);
      this.knownBytes += bytes.length;
      this.#listener.changed(this);
    });
    // A write that failed is its caller's; the next one has its own chance.
    this.#writing = done.catch(() => undefined);
    return done;
  }

  async complete(): Promise<void> {
    if (!this.ending) {
      await this.#writing;
      this.ending = true;
      await this.#writer?.close().catch(() => undefined);
      this.#writer = undefined;
      await this.measure();
      this.#listener.changed(this);
    }
    if (!this.settled) await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }

  /** Looks how large the file is now; true if it has grown. */
  async measure(): Promise<boolean> {
    const size = await stat(this.file).then(
      (found) => found.size,
      () => 0,
    );
    const grown = size > this.knownBytes;
    this.knownBytes = size;
    return grown;
  }

  /** Nothing of it may be shown yet. */
  get withheld(): boolean {
    return this.#guard.withheld;
  }

  /** Fills `buffer` from `offset` on; the number of bytes that were there and may be shown. Secrets are blotted out. */
  async read(buffer: Uint8Array, offset: number): Promise<number> {
    const size = await this.#readRaw(buffer, offset);
    const { mask } = this.#guard;
    if (mask === undefined) return size;
    const isEnd = this.ending && offset + size >= this.knownBytes;
    const before = this.#hidden.get(offset) ?? 0;
    const { shown, hidden } = mask.blot(buffer.subarray(0, size), isEnd, before);
    // The piece may be read again when the server does not take it.
    this.#hidden = new Map([
      [offset, before],
      [offset + shown, shown === 0 ? Math.max(before, hidden) : hidden],
    ]);
    return shown;
  }

  async *content(): AsyncIterable<Uint8Array> {
    const { mask } = this.#guard;
    const size = await stat(this.file).then(
      (found) => found.size,
      () => 0,
    );
    let hidden = 0;
    for (let offset = 0; offset < size;) {
      const buffer = new Uint8Array(Math.min(contentPieceBytes, size - offset));
      const count = await this.#readRaw(buffer, offset);
      if (count === 0) return;
      const piece = buffer.subarray(0, count);
      const blotted = mask?.blot(piece, offset + count >= size, hidden) ?? { shown: count, hidden: 0 };
      yield piece.subarray(0, blotted.shown);
      hidden = blotted.hidden;
      offset += blotted.shown;
    }
  }

  async #readRaw(buffer: Uint8Array, offset: number): Promise<number> {
    try {
      this.#reader ??= await open(this.file, 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0;
      throw error;
    }
    const { bytesRead } = await this.#reader.read(buffer, 0, buffer.length, offset);
    this.knownBytes = Math.max(this.knownBytes, offset + bytesRead);
    return bytesRead;
  }

  /** True if the server lacks something that exists. */
  get dirty(): boolean {
    if (this.settled) return false;
    return this.ending || this.committedBytes === undefined || this.knownBytes > this.committedBytes;
  }

  /** Nothing more will be uploaded: everybody who waits goes on. */
  async settle(): Promise<void> {
    if (this.settled) return;
    this.settled = true;
    const reader = this.#reader;
    this.#reader = undefined;
    for (const waiter of this.#waiters.splice(0)) waiter();
    await reader?.close().catch(() => undefined);
  }

  /** Lets go of the file without uploading more. */
  async close(): Promise<void> {
    this.ending = true;
    await this.#writing;
    await this.#writer?.close().catch(() => undefined);
    this.#writer = undefined;
    await this.settle();
  }
}
