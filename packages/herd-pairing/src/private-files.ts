import { DroverError } from '@drover/lease-kit';
import {
  chmodSync,
  chownSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

/** How long a file that was not finished is left alone: whoever writes it may be at work still. */
const unfinishedMs = 60_000;
const unfinished = /\.\d+\.next$/;

/** Makes a folder that its owner alone may look into, and clears what writers left that were killed. */
export function openPrivateFolder(path: string): void {
  if (mkdirSync(path, { recursive: true, mode: 0o700 }) !== undefined) giveToOwnerOf(dirname(path), path);
  // The mode counts only where the folder is new.
  if (process.platform !== 'win32' && (statSync(path).mode & 0o077) !== 0) chmodSync(path, 0o700);
  for (const name of readdirSync(path)) {
    if (!unfinished.test(name)) continue;
    const file = join(path, name);
    const mtimeMs = statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
    if (Date.now() - mtimeMs > unfinishedMs) rmSync(file, { force: true });
  }
}

/** Writes a file that its owner alone can read, as JSON: whole or not at all, also when the process or the machine ends. */
export function writePrivately(path: string, value: unknown): void {
  const next = `${path}.${process.pid}.next`;
  try {
    writeFileSync(next, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600, flush: true });
    chmodSync(next, 0o600);
    giveToOwnerOf(dirname(path), next);
    renameSync(next, path);
  } catch (error) {
    rmSync(next, { force: true });
    throw error;
  }
  keepName(dirname(path));
}

/**
 * What a file holds; undefined if there is none. Throws `HERD_FILE_EXPOSED` where others may have read it, and
 * `HERD_FILE_INVALID` for one that `parse` answers nothing for.
 */
export function readPrivately<Value>(path: string, parse: (value: unknown) => Value | undefined): Value | undefined {
  let text: string;
  try {
    const { mode } = statSync(path);
    // Windows has no such bits: the folder is its owner's there.
    if ((mode & 0o077) !== 0 && process.platform !== 'win32') throw exposed(path, mode);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  let value: Value | undefined;
  try {
    value = parse(JSON.parse(text));
  } catch {
    // What the parser says shows a piece of the file, and what is in it is secret.
    value = undefined;
  }
  if (value !== undefined) return value;
  throw new DroverError({
    code: 'HERD_FILE_INVALID',
    advice: 'fix-input',
    message: `${path} is not what Drover writes there: restore it, or remove it and pair anew`,
  });
}

/** The JSON files of a folder by their names without `.json`, sorted; none if there is no folder. */
export function filesOf(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith('.json'))
      .map((name) => name.slice(0, -5))
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** What root makes in a folder of another user is for that user: an agent must be able to read what `sudo drover herd code` left. */
function giveToOwnerOf(folder: string, path: string): void {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = statSync(folder);
  if (uid !== 0) chownSync(path, uid, gid);
}

/** A file's name outlives a loss of power once its folder is on the disk. */
function keepName(folder: string): void {
  if (process.platform === 'win32') return;
  const opened = openSync(folder, 'r');
  try {
    fsyncSync(opened);
  } finally {
    closeSync(opened);
  }
}

function exposed(path: string, mode: number): DroverError {
  return new DroverError({
    code: 'HERD_FILE_EXPOSED',
    advice: 'fix-input',
    message: `${path} has mode ${(mode & 0o777).toString(8)}, so that others may have read it; allowed is 600. If they have not, chmod it; else remove it and pair anew.`,
  });
}
