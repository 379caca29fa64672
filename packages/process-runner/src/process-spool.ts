import { DroverError, messageOf } from '@drover/lease-kit';
import { closeSync, constants, fstatSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** A spool file that is open for appending. */
export interface ProcessSpool {
  /** Inherited by the child as its standard output and standard error. */
  readonly fd: number;
  /** The size before the process wrote anything. */
  readonly startBytes: number;
  /** The size now; after {@link close}, the size then. */
  sizeBytes(): number;
  /** True when the file system has no block left that this user may take. */
  isFileSystemFull(): boolean;
  /** Idempotent. */
  close(): void;
}

/**
 * Opens (or makes, with its folder, for this user alone) the file that a child writes to, and proves that bytes can be
 * written beside it. Throws `PROCESS_SPOOL_FULL` (`exhausted`) or `PROCESS_SPOOL_UNWRITABLE` (`fix-input`).
 */
export function openProcessSpool(path: string): ProcessSpool {
  let fd: number | undefined;
  try {
    mkdirSync(dirname(path), { recursive: true });
    // Read and write: the runner cuts the file to its bound at the end. O_NONBLOCK: a fifo must not hang the agent.
    fd = openSync(path, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK, 0o600);
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw new Error('it is not a regular file');
    proveWritable(`${path}.probe`);
    const opened = fd;
    let finalBytes: number | undefined;
    return {
      fd: opened,
      startBytes: stats.size,
      sizeBytes: () => finalBytes ?? fstatSync(opened).size,
      isFileSystemFull: () => isFull(path),
      close() {
        if (finalBytes !== undefined) return;
        finalBytes = fstatSync(opened).size;
        closeSync(opened);
      },
    };
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    const full = ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '');
    throw new DroverError({
      code: full ? 'PROCESS_SPOOL_FULL' : 'PROCESS_SPOOL_UNWRITABLE',
      advice: full ? 'exhausted' : 'fix-input',
      message: `The output of a process cannot be written to ${path}: ${messageOf(error)}`,
      cause: error,
    });
  }
}

/** A page of bytes beside the spool: a quota or a full disk must show before the process runs, not in its output. */
function proveWritable(path: string): void {
  const fd = openSync(path, 'w', 0o600);
  try {
    const page = Buffer.alloc(4096, 1);
    if (writeSync(fd, page) < page.length)
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  } finally {
    closeSync(fd);
    rmSync(path, { force: true });
  }
}

function isFull(path: string): boolean {
  try {
    const { bfree, bavail } = statfsSync(path);
    return (process.getuid?.() === 0 ? bfree : bavail) === 0;
  } catch {
    return false;
  }
}
