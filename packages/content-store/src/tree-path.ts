import { pathEscapes, symlinkEscapes } from './content-errors.ts';

/**
 * The parts of a relative path inside a folder; none for `.`. Throws `PATH_ESCAPES` for anything that is absolute, contains
 * `..`, or can't be a path.
 */
export function splitTreePath(path: string): string[] {
  if (path === '') throw pathEscapes(path, 'is empty');
  if (path.includes('\0')) throw pathEscapes(path.replaceAll('\0', '\\0'), 'contains a zero byte');
  if (path.startsWith('/')) throw pathEscapes(path, 'is absolute');
  if (process.platform === 'win32' && /[\\:]/.test(path)) throw pathEscapes(path, 'contains "\\" or ":"');
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw pathEscapes(path, 'contains ".."');
  return parts;
}

/** Returns `name` if it is exactly one part of a path. Throws `PATH_ESCAPES`. */
export function checkTreeName(name: string, folder: string): string {
  const path = folder === '' ? name : `${folder}/${name}`;
  if (name === '.' || name.includes('/')) throw pathEscapes(path, 'has a name that is not one part of a path');
  splitTreePath(name);
  return name;
}

/**
 * Checks a symbolic link that stands at `path` (relative to the root of its tree). Its target must be relative and have
 * `..` only at the start, no more of them than there are folders above the link. A `..` behind a name could lead through
 * another link of the tree to somewhere else than it reads; without such, a link whose folders are real folders leads only
 * to places inside, and what it leads through there are links that were checked in the same way. Throws
 * `SYMLINK_ESCAPES`.
 */
export function checkSymlinkTarget(path: string, target: string): void {
  const depth = path.split('/').length - 1;
  if (target === '' || target.includes('\0')) throw symlinkEscapes(path, target, 'has no valid target');
  if (target.startsWith('/') || (process.platform === 'win32' && /[\\:]/.test(target))) {
    throw symlinkEscapes(path, target, 'is absolute');
  }
  const parts = target.split('/').filter((part) => part !== '' && part !== '.');
  const firstName = parts.findIndex((part) => part !== '..');
  const ups = firstName < 0 ? parts.length : firstName;
  if (ups > depth) throw symlinkEscapes(path, target, 'leads out of its tree');
  if (parts.slice(ups).includes('..')) throw symlinkEscapes(path, target, 'has ".." behind a name');
}
