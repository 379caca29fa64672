import { bundleRefused } from './bundle-errors.ts';
import { bundlePathBytesMax } from './bundle-limits.ts';

/**
 * Returns `path` if it is a path inside a folder in its shortest form: names with '/' between them, none of them `.` or
 * `..`. Throws `BUNDLE_PATH_ESCAPES`.
 */
export function checkBundlePath(path: string): string {
  const refuse = (why: string): never => {
    throw bundleRefused(
      'BUNDLE_PATH_ESCAPES',
      `path ${JSON.stringify(path)} ${why}; allowed are relative paths inside the bundle with "/" between names and without "." and ".."`,
      { path: path.slice(0, 256) },
    );
  };
  if (Buffer.byteLength(path) > bundlePathBytesMax) refuse(`has more than ${bundlePathBytesMax} bytes`);
  if (path.startsWith('/') || /^[A-Za-z]:/.test(path)) refuse('is absolute');
  if (path.includes('\\') || path.includes('\0')) refuse('holds a backslash or a NUL character');
  const names = path.split('/');
  if (names.includes('..')) refuse('leaves its folder');
  if (names.some((name) => name === '' || name === '.')) refuse('is no path in its shortest form');
  return path;
}

/**
 * Checks a symbolic link that stands at `path`. Its target must be relative, with `..` at its start only and no more of them
 * than there are folders above the link: a `..` behind a name could lead through another link. Throws
 * `BUNDLE_SYMLINK_ESCAPES`.
 */
export function checkBundleLink(path: string, target: string): void {
  const refuse = (why: string): never => {
    throw bundleRefused(
      'BUNDLE_SYMLINK_ESCAPES',
      `symbolic link ${JSON.stringify(path)} to ${JSON.stringify(target)} ${why}; allowed are relative targets inside the bundle`,
      { path },
    );
  };
  if (target === '' || target.includes('\0') || target.includes('\\')) refuse('has no valid target');
  if (Buffer.byteLength(target) > bundlePathBytesMax) refuse(`has more than ${bundlePathBytesMax} bytes`);
  if (target.startsWith('/') || /^[A-Za-z]:/.test(target)) refuse('is absolute');
  const names = target.split('/').filter((name) => name !== '' && name !== '.');
  const firstName = names.findIndex((name) => name !== '..');
  const ups = firstName < 0 ? names.length : firstName;
  if (ups > path.split('/').length - 1) refuse('leads out of the bundle');
  if (names.slice(ups).includes('..')) refuse('has ".." behind a name');
}
