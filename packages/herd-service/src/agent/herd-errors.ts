import { DroverError } from '@drover/lease-kit';

/** A failure of a herd job that was foreseen. */
export function herdError(
  code: `HERD_${string}`,
  advice: DroverError['advice'],
  message: string,
  more: { readonly details?: DroverError['details']; readonly retryAfterMs?: number; readonly cause?: unknown } = {},
): DroverError {
  return new DroverError({ code, advice, message, ...more });
}

/** `HERD_DISK_FULL`: there is no room for a job's files. */
export function diskFull(cause: unknown): DroverError {
  const message = 'The disk of this agent has no room for the files of the job';
  return herdError('HERD_DISK_FULL', 'exhausted', message, { cause });
}

/** True for what the system and the content store say when there is no room. */
export function isDiskFull(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code ?? '';
  return ['ENOSPC', 'EDQUOT', 'CONTENT_STORE_FULL'].includes(code);
}
