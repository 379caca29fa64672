import { systemClock, type Clock } from '@drover/lease-kit';
import { execFile } from 'node:child_process';
import { lstatSync, rmSync } from 'node:fs';
import { promisify } from 'node:util';
import { openFifo } from './fifo.ts';
import { PacedItems, type ItemPace, type PacedItem } from './paced-items.ts';
import { PipeItemReader } from './pipe-item-reader.ts';
import { pipeError, pipePath } from './pipe-name.ts';
import { openPipeServer } from './pipe-server.ts';

/** One pipe to be opened. */
export interface ProgressPipeRequest {
  /** An absolute folder that exists; on Windows it does not matter. */
  readonly folder: string;
  /** The pipe's name in it: 1 to 128 characters, no path. On Windows, the name of the named pipe. */
  readonly name: string;
  /** Default `fifo`. On Windows, both are a named pipe. */
  readonly kind?: 'fifo' | 'socket';
  /** Items come as they were written, those of unknown tags as well. Default false. */
  readonly raw?: boolean;
}

/** A pipe that is read from its making to its end. */
export interface ProgressPipe {
  /** What the process opens for writing. */
  readonly path: string;
  /** The process has ended: reads what it wrote last, and takes the pipe away. Bounded in time; idempotent. */
  end(): Promise<void>;
}

/** Bounds of {@link createProgressPipes}. */
export interface ProgressPipesOptions extends ItemPace {
  /** The most pipes at once. Default 1,024. */
  readonly pipesMax?: number;
  /** Longest item in characters. Default 16,384. */
  readonly itemLengthMax?: number;
  /** How fast a pipe is read; its writer waits when it is faster. Default 8 MiB a second. */
  readonly bytesPerSecondMax?: number;
}

/** Who works together in {@link createProgressPipes}. */
export interface ProgressPipesDeps {
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Makes a FIFO for this user alone. Default: the program `mkfifo`. */
  readonly makeFifo?: (path: string) => Promise<void>;
}

/** Where pipes are made. */
export interface ProgressPipes {
  /**
   * Makes a pipe and reads it. Nobody needs to connect, and whoever does may go at any time. Throws `PIPE_NAME_INVALID`,
   * `PIPE_PATH_TOO_LONG`, `PIPE_IN_USE`, `PIPES_TOO_MANY`, `PIPE_FAILED`. Items come at a bounded pace, in order, at once or later
   * but not after {@link ProgressPipe.end} has resolved.
   */
  open(request: ProgressPipeRequest, onItem: (item: PacedItem) => void): Promise<ProgressPipe>;
}

/** What reads the bytes of one pipe. */
export interface PipeBytes {
  /** Reads what is left and closes. */
  end(): Promise<void>;
}

const run = promisify(execFile);

/** Makes progress pipes, of which none has the path of another. */
export function createProgressPipes(options: ProgressPipesOptions = {}, deps: ProgressPipesDeps = {}): ProgressPipes {
  const { clock = systemClock, makeFifo = (path) => run('mkfifo', ['-m', '600', '--', path]).then(() => undefined) } =
    deps;
  const { pipesMax = 1_024, itemLengthMax, bytesPerSecondMax = 8 * 1024 * 1024 } = options;
  const open = new Set<string>();

  return {
    async open(request, onItem) {
      const kind = process.platform === 'win32' ? 'socket' : (request.kind ?? 'fifo');
      const path = pipePath(request.folder, request.name, kind);
      if (open.has(path)) throw pipeError('PIPE_IN_USE', 'conflict', `The pipe ${path} is in use by another task`);
      if (open.size >= pipesMax) {
        throw pipeError('PIPES_TOO_MANY', 'exhausted', `${pipesMax} pipes are open, which is the most allowed`);
      }
      open.add(path);
      try {
        const reader = new PipeItemReader({
          raw: request.raw ?? false,
          ...(itemLengthMax === undefined ? {} : { itemLengthMax }),
        });
        const paced = new PacedItems(options, clock, onItem);
        let tooLong = 0;
        const onBytes = (bytes: Uint8Array): void => {
          for (const item of reader.push(bytes)) paced.push(item);
          paced.left(reader.tooLong - tooLong);
          tooLong = reader.tooLong;
        };
        removeStale(path);
        if (kind === 'fifo') await makeFifo(path);
        const deps = { onBytes, clock, bytesPerSecondMax };
        const bytes: PipeBytes = kind === 'fifo' ? openFifo(path, deps) : await openPipeServer(path, deps);
        const end = async (): Promise<void> => {
          await bytes.end();
          for (const item of reader.end()) paced.push(item);
          paced.end();
          if (process.platform !== 'win32') rmSync(path, { force: true });
          open.delete(path);
        };
        let ending: Promise<void> | undefined;
        return { path, end: () => (ending ??= end()) };
      } catch (error) {
        open.delete(path);
        throw pipeError(
          'PIPE_FAILED',
          'unavailable',
          `The pipe ${path} cannot be made: ${(error as Error).message}`,
          error,
        );
      }
    },
  };
}

/** A FIFO or socket that an earlier process left. Anything else stands in the way and is told by who makes the pipe. */
function removeStale(path: string): void {
  if (process.platform === 'win32') return;
  const found = lstatSync(path, { throwIfNoEntry: false });
  const isOurs = found !== undefined && found.uid === process.getuid?.();
  if (isOurs && (found.isFIFO() || found.isSocket())) rmSync(path, { force: true });
}
