import { DroverError, type ErrorAdvice } from '@drover/lease-kit';
import { constants } from 'node:os';

/** What a sandbox's agent says no to, by its errno. */
const codes: readonly (readonly [errno: number, code: string, advice: ErrorAdvice])[] = [
  [constants.errno.ENOSPC, 'SANDBOX_DISK_FULL', 'exhausted'],
  [constants.errno.EDQUOT, 'SANDBOX_DISK_FULL', 'exhausted'],
  [constants.errno.EINVAL, 'PATH_INVALID', 'fix-input'],
  [constants.errno.EACCES, 'PATH_INVALID', 'fix-input'],
  [constants.errno.ELOOP, 'PATH_INVALID', 'fix-input'],
  [constants.errno.ENOTDIR, 'PATH_INVALID', 'fix-input'],
  [constants.errno.EISDIR, 'PATH_INVALID', 'fix-input'],
  [constants.errno.ENAMETOOLONG, 'PATH_INVALID', 'fix-input'],
  [constants.errno.ENOENT, 'FILE_NOT_FOUND', 'not-found'],
  [constants.errno.EFBIG, 'FILES_TOO_LARGE', 'fix-input'],
  [constants.errno.EAGAIN, 'SANDBOX_BUSY', 'exhausted'],
];

/** The error for a frame `failed`. */
export function guestError(payload: Buffer, what: string): DroverError {
  const errno = payload.length < 4 ? 0 : payload.readUInt32LE(0);
  const said = payload.toString('utf8', 4);
  const [, code, advice] = codes.find(([known]) => known === errno) ?? [0, 'SANDBOX_IO_FAILED', 'conflict' as const];
  const note =
    advice === 'fix-input' ? '; allowed are absolute paths below /run/drover or /tmp that lead through no link' : '';
  return new DroverError({
    code,
    advice,
    message: `${what}: ${said}${code === 'PATH_INVALID' ? note : ''}`,
    details: { errno },
  });
}

/** The sandbox is gone, and with it what was asked of it. */
export function sandboxGone(why: string): DroverError {
  return new DroverError({ code: 'SANDBOX_GONE', advice: 'unavailable', message: `the sandbox is gone: ${why}` });
}
