import { DroverError } from '@drover/lease-kit';
import { accessSync, constants, statSync } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import type { StartFailureCode } from './process-result.ts';

/** One process to run. */
export interface ProcessRequest {
  /** Names the run in this state folder, 1 to 256 characters; free again when its whole tree is gone. */
  readonly key: string;
  /** A path, relative to `cwd`, or a name that is looked up on the PATH of `env`. Never a shell line. */
  readonly exe: string;
  readonly args: readonly string[];
  /** The whole environment: nothing of the agent's own is added but {@link processKeyVariable}. */
  readonly env: Readonly<Record<string, string>>;
  /** The working directory: an absolute path that exists. */
  readonly cwd: string;
  /** Where standard output and error are appended, together, as they are written: an absolute path of a regular file. */
  readonly spoolPath: string;
  /** How long the process may run; absent means without limit. Measured from its start. */
  readonly timeoutMs?: number;
  /** How long it may write nothing; absent means without limit. */
  readonly idleTimeoutMs?: number;
  /** How long it has between SIGTERM and SIGKILL; 0 means SIGKILL at once. */
  readonly cancelGraceMs: number;
  /** How much memory the whole tree may take; absent means without limit. */
  readonly memoryBytesMax?: number;
  /** How much it may write; absent means 1 GiB. A process that writes more is ended. */
  readonly logSizeBytesMax?: number;
}

/** What a spool may grow to when the request does not say: 1 GiB. */
export const defaultLogSizeBytesMax = 1024 ** 3;

/** Throws `PROCESS_REQUEST_INVALID` (`fix-input`) that names the field, what it holds and what is allowed. */
export function checkProcessRequest(request: ProcessRequest): void {
  const refuse = (field: string, allowed: string) => {
    throw new DroverError({
      code: 'PROCESS_REQUEST_INVALID',
      advice: 'fix-input',
      message: `${field} must be ${allowed}, not ${JSON.stringify(request[field as keyof ProcessRequest])}`,
      details: { field },
    });
  };
  if (request.key.length < 1 || request.key.length > 256) refuse('key', '1 to 256 characters');
  if (request.exe === '') refuse('exe', 'a path or a name');
  if (!isAbsolute(request.cwd)) refuse('cwd', 'an absolute path');
  if (!isAbsolute(request.spoolPath)) refuse('spoolPath', 'an absolute path');
  const { timeoutMs, idleTimeoutMs, memoryBytesMax, logSizeBytesMax, cancelGraceMs } = request;
  const bounds = { timeoutMs, idleTimeoutMs, memoryBytesMax, logSizeBytesMax };
  for (const [field, value] of Object.entries(bounds)) {
    if (value !== undefined && !(Number.isFinite(value) && value > 0)) refuse(field, 'a number above 0, or absent');
  }
  if (!(Number.isFinite(cancelGraceMs) && cancelGraceMs >= 0)) refuse('cancelGraceMs', 'a number from 0');
}

/** Why nothing could be started. */
export interface StartFailure {
  readonly code: StartFailureCode;
  readonly message: string;
}

/** Looks at the working directory; `spawn` alone would blame the executable for it. */
export async function findCwdFailure(cwd: string): Promise<StartFailure | undefined> {
  try {
    if (!(await stat(cwd)).isDirectory()) return cwdFailure(cwd, 'is not a directory');
    await access(cwd, constants.X_OK);
    return undefined;
  } catch (error) {
    return cwdFailureFrom(cwd, error);
  }
}

function cwdFailureFrom(cwd: string, error: unknown): StartFailure {
  const code = (error as NodeJS.ErrnoException).code ?? String(error);
  return cwdFailure(cwd, code === 'ENOENT' ? 'does not exist' : `cannot be entered (${code})`);
}

const cwdFailure = (cwd: string, what: string): StartFailure => ({
  code: 'PROCESS_CWD_INVALID',
  message: `The working directory ${cwd} ${what}`,
});

/** What an error of `spawn` means, when the working directory has not been looked at before. */
export function startFailureFrom(
  request: { readonly exe: string; readonly cwd: string },
  error: unknown,
): StartFailure {
  return cwdFailureNow(request.cwd) ?? startFailureFromError(request.exe, error);
}

function cwdFailureNow(cwd: string): StartFailure | undefined {
  try {
    if (!statSync(cwd).isDirectory()) return cwdFailure(cwd, 'is not a directory');
    accessSync(cwd, constants.X_OK);
    return undefined;
  } catch (error) {
    return cwdFailureFrom(cwd, error);
  }
}

/** What an error of `spawn` means. */
export function startFailureFromError(exe: string, error: unknown): StartFailure {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOENT':
      return { code: 'PROCESS_EXE_NOT_FOUND', message: `${exe} was not found, or the interpreter it names was not` };
    case 'EACCES':
    case 'EPERM':
    case 'ENOEXEC':
    case 'EISDIR':
    case 'ENOTDIR':
      return {
        code: 'PROCESS_EXE_NOT_EXECUTABLE',
        message: `${exe}, or a folder that it was looked for in, is not executable for this user (${code})`,
      };
    case 'E2BIG':
    case 'ERR_INVALID_ARG_VALUE':
      return {
        code: 'PROCESS_ARGUMENTS_INVALID',
        message: `The arguments or environment of ${exe} are refused: ${message}`,
      };
    case 'EAGAIN':
    case 'ENOMEM':
    case 'EMFILE':
    case 'ENFILE':
      return { code: 'PROCESS_NO_RESOURCES', message: `${exe} could not be started for want of resources (${code})` };
    default:
      return { code: 'PROCESS_START_FAILED', message: `${exe} could not be started: ${message}` };
  }
}
