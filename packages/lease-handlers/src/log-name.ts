import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DroverError } from '@drover/lease-kit';

/** Longest name of a log, in characters. */
export const logNameLengthMax = 256;

/** Longest part of a name that becomes a file name as it is; file systems take 255 bytes. */
const plainLengthMax = 200;

/** The spool file of a log in `dir`. A name that is too long for one stands in a file of its own beside it. */
export function spoolFileOf(dir: string, name: string): string {
  // A file that begins with `~` has its name in a file of its own.
  const encoded = encodeURIComponent(name).replaceAll('~', '%7E');
  if (encoded.length <= plainLengthMax) return join(dir, `${encoded}.log`);
  const stem = `~${createHash('sha256').update(name).digest('hex')}`;
  writeFileSync(join(dir, `${stem}.name`), name);
  return join(dir, `${stem}.log`);
}

/** The log that a spool file belongs to; undefined for a file that is none. */
export function logNameOf(dir: string, file: string): string | undefined {
  try {
    const stem = file.slice(0, -'.log'.length);
    return stem.startsWith('~') ? readFileSync(join(dir, `${stem}.name`), 'utf8') : decodeURIComponent(stem);
  } catch {
    return undefined;
  }
}

/** Throws `LOG_NAME_INVALID` for a name that is none. */
export function checkLogName(name: string): void {
  const valid = name.length >= 1 && name.length <= logNameLengthMax && !name.includes('\0') && name.isWellFormed();
  if (valid) return;
  throw new DroverError({
    code: 'LOG_NAME_INVALID',
    advice: 'fix-input',
    message: `a log's name has 1 to ${logNameLengthMax} characters, not ${JSON.stringify(name.slice(0, 40))}`,
  });
}
