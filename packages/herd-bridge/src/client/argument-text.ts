import { DroverError } from '@drover/lease-kit';

/**
 * Arguments as the one text that the original protocol has for them, such that an agent splits it into the same again. On Unix
 * its Mono splits as a shell does; on Windows, where only the double quotes group words, and the protocol cannot carry those, an
 * argument with a space cannot be said: throws `HERD_TASK_INVALID`.
 */
export function argumentText(values: readonly string[], isWindows: boolean): string {
  return values.map((value) => (isWindows ? plain(value) : quoted(value))).join(' ');
}

function plain(value: string): string {
  if (value !== '' && !/\s/.test(value)) return value;
  throw new DroverError({
    code: 'HERD_TASK_INVALID',
    advice: 'fix-input',
    message: `argument ${JSON.stringify(value)} cannot be said to an original agent on Windows: there is no way to quote it; allowed are arguments that are not empty and have no space`,
  });
}

/**
 * Mono takes a backslash as an escape within single quotes as well, POSIX shells do not: outside of quotes both agree, so
 * backslashes and single quotes stand there.
 */
function quoted(value: string): string {
  if (value === '') return `''`;
  if (/^[\w@%+=:,./{}~^-]+$/.test(value)) return value;
  return value
    .split(/([\\'])/)
    .map((part) => (part === '\\' || part === `'` ? `\\${part}` : part === '' ? '' : `'${part}'`))
    .join('');
}
