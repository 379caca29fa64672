import { DroverError, systemClock, type Clock } from '@drover/lease-kit';
import { watch } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';

/** Bytes of a spool and where they stand in it. */
export interface SpoolChunk {
  /** Of the first byte, from the start of the file. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** How {@link tailSpool} reads. */
export interface TailSpoolOptions {
  /** The first offset to give; default 0. */
  readonly fromOffset?: number;
  /** Fulfilled (or rejected) when nobody writes to the file any more, such as a run's `result`. */
  readonly ended: Promise<unknown>;
  /** Ends the reading, by throwing the signal's reason. */
  readonly signal: AbortSignal;
  /** The most bytes of one chunk; default 65536. */
  readonly chunkBytesMax?: number;
  /** How long to wait for a hint of the file system before looking again; default 200. */
  readonly pollMs?: number;
  /** The offset to stop at, whatever is written after it; absent means the end of the file. */
  readonly offsetMax?: number;
  /** Default: the system's. */
  readonly clock?: Clock;
}

/**
 * Gives the bytes of a spool file in order while it is written, each once, until `ended` and all was read. The file need
 * not exist yet. Change notices of the file system only shorten the wait: where there are none, the poll finds the same.
 * One chunk is read at a time, so a slow reader holds at most `chunkBytesMax` in memory.
 *
 * Throws the signal's reason on abort, and `SPOOL_OFFSET_INVALID` (`fix-input`) when the file ends before `fromOffset`.
 */
export async function* tailSpool(path: string, options: TailSpoolOptions): AsyncGenerator<SpoolChunk, void, undefined> {
  const { signal, fromOffset = 0, chunkBytesMax = 64 * 1024, pollMs = 200, clock = systemClock } = options;
  const offsetMax = options.offsetMax ?? Infinity;
  signal.throwIfAborted();
  let ended = false;
  const waiter = createWaiter(clock, pollMs);
  const onEnded = () => {
    ended = true;
    waiter.wake();
  };
  options.ended.then(onEnded, onEnded);
  signal.addEventListener('abort', waiter.wake, { once: true });
  const stopWatching = watchFolder(path, waiter.wake);
  let file: FileHandle | undefined;
  let offset = fromOffset;
  try {
    while (offset < offsetMax) {
      // Taken before the read: what is written before the end is told is in the file by then.
      const wasEnded = ended;
      file ??= await openIfThere(path);
      const bytes = file && (await readChunk(file, offset, Math.min(chunkBytesMax, offsetMax - offset)));
      signal.throwIfAborted();
      if (bytes !== undefined && bytes.length > 0) {
        yield { offset, bytes };
        signal.throwIfAborted();
        offset += bytes.length;
      } else if (wasEnded) {
        return await checkEnd(file, offset, path);
      } else {
        await waiter.wait(() => signal.aborted || ended);
        signal.throwIfAborted();
      }
    }
  } finally {
    stopWatching();
    signal.removeEventListener('abort', waiter.wake);
    await file?.close();
  }
}

async function checkEnd(file: FileHandle | undefined, offset: number, path: string): Promise<void> {
  const sizeBytes = file === undefined ? 0 : (await file.stat()).size;
  if (sizeBytes >= offset) return;
  throw new DroverError({
    code: 'SPOOL_OFFSET_INVALID',
    advice: 'fix-input',
    message: `The output ${basename(path)} ends at ${sizeBytes}, before the offset ${offset} that was asked for`,
    details: { sizeBytes, offset },
  });
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function readChunk(file: FileHandle, offset: number, bytesMax: number): Promise<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(bytesMax);
  const { bytesRead } = await file.read(buffer, 0, bytesMax, offset);
  // A copy when most would stay unused: a chunk may be kept for long.
  return bytesRead * 2 < bytesMax ? Buffer.from(buffer.subarray(0, bytesRead)) : buffer.subarray(0, bytesRead);
}

/** Wakes on changes of the file, or of its folder while the file is not there yet. Only a hint: errors are dropped. */
function watchFolder(path: string, wake: () => void): () => void {
  try {
    const watcher = watch(dirname(path), (_event, name) => {
      if (name === null || name === basename(path)) wake();
    });
    watcher.on('error', () => watcher.close());
    return () => watcher.close();
  } catch {
    return () => undefined;
  }
}

interface Waiter {
  wait(isOver: () => boolean): Promise<void>;
  readonly wake: () => void;
}

/** A wait of at most `pollMs` that ends early when woken; a wake between two waits ends the next one at once. */
function createWaiter(clock: Clock, pollMs: number): Waiter {
  let woken = false;
  let resolveWait: (() => void) | undefined;
  const wake = () => {
    woken = true;
    resolveWait?.();
  };
  return {
    wake,
    async wait(isOver) {
      if (!woken && !isOver()) {
        await new Promise<void>((resolve) => {
          resolveWait = resolve;
          const call = clock.schedule(pollMs, resolve);
          resolveWait = () => {
            call.cancel();
            resolve();
          };
        });
      }
      resolveWait = undefined;
      woken = false;
    },
  };
}
