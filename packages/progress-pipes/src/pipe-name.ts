import { DroverError } from '@drover/lease-kit';
import { join } from 'node:path';

const lengthMax = 128;
/** What `sun_path` of unix(7) takes, with its NUL. */
const socketPathBytesMax = process.platform === 'linux' ? 108 : 104;

/** What is wrong with a name for a pipe and what is allowed; undefined for a good one. */
export function pipeNameFault(name: string): string | undefined {
  const allowed = `allowed are 1 to ${lengthMax} characters without "/", "\\" and control characters, not "." or ".."`;
  if (name.length === 0) return `is empty; ${allowed}`;
  if (name.length > lengthMax) return `has ${name.length} characters; ${allowed}`;
  if (/[/\\\u0000-\u001f\u007f]/.test(name) || name === '.' || name === '..') {
    return `${JSON.stringify(name)} cannot name a pipe; ${allowed}`;
  }
  return undefined;
}

/** Where the pipe of a name stands. Throws `PIPE_NAME_INVALID`, and for a socket `PIPE_PATH_TOO_LONG`. */
export function pipePath(folder: string, name: string, kind: 'fifo' | 'socket'): string {
  const fault = pipeNameFault(name);
  if (fault !== undefined) throw pipeError('PIPE_NAME_INVALID', 'fix-input', `The name of a pipe ${fault}`);
  if (process.platform === 'win32') return `\\\\.\\pipe\\${name}`;
  const path = join(folder, name);
  if (kind === 'socket' && Buffer.byteLength(path) >= socketPathBytesMax) {
    const message = `${path} is too long for a socket: at most ${socketPathBytesMax - 1} bytes are allowed`;
    throw pipeError('PIPE_PATH_TOO_LONG', 'fix-input', message);
  }
  return path;
}

/** A failure of a pipe that was foreseen. */
export function pipeError(code: string, advice: DroverError['advice'], message: string, cause?: unknown): DroverError {
  return new DroverError({ code, advice, message, cause });
}
