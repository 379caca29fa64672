import type { SystemFiles } from './internal/read-text.ts';

/** A machine that has these files and no others. */
export function filesOf(files: Readonly<Record<string, string>>): SystemFiles {
  return { read: (path) => files[path] };
}
