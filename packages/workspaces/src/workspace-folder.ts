import { DroverError } from '@drover/lease-kit';
import { tryLockFile } from '@drover/process-runner';
import { createHash } from 'node:crypto';
import { lstat, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { isAbsolute, join, normalize, parse } from 'node:path';
import { removeWorkingCopy } from './workspace-destination.ts';

/** A folder below the root of a machine's workspaces, which nobody else syncs meanwhile. */
export interface ClaimedWorkspaceFolder extends Disposable {
  /** Absolute. It is there, and every folder on the way from the root is a folder, not a link. */
  readonly dir: string;
  /** True if no sync had ever begun here. */
  readonly isNew: boolean;
  /** Names this folder among all of the machine, the same every time: 32 hexadecimal digits. */
  readonly key: string;
}

/** Where it is remembered below the root which folders are workspaces. */
const recordsFolder = '.drover';
const folderLengthMax = 255;
const depthMax = 16;

/**
 * Takes a workspace's folder for a sync, and makes it. A folder with something in it that no sync made is never taken: what
 * belongs to somebody else must not be put back to anything.
 *
 * Throws `WORKSPACE_ROOT_INVALID`, `WORKSPACE_FOLDER_INVALID` (`fix-input`: a path that is absolute, unclean, leaves the root
 * or names what Drover or git keep), `WORKSPACE_FOLDER_LINKED` (`denied`: a symbolic link or file on the way),
 * `WORKSPACE_NOT_OURS` (`conflict`), `WORKSPACE_NESTED` (`conflict`: inside another workspace, or around one), and
 * `WORKSPACE_BUSY` (`unavailable`: another process of this machine is at it).
 */
export async function claimWorkspaceFolder(root: string, folder: string): Promise<ClaimedWorkspaceFolder> {
  checkRoot(root);
  checkFolder(folder);
  const records = join(root, recordsFolder);
  await mkdir(records, { recursive: true });
  await refuseLinks(root, recordsFolder);
  const key = keyOf(folder);
  const lock = tryLockFile(join(records, `${key}.lock`));
  if (lock === undefined) {
    throw new DroverError({
      code: 'WORKSPACE_BUSY',
      advice: 'unavailable',
      message: `The workspace ${folder} is being synced by another process of this machine`,
    });
  }
  try {
    const dir = join(root, folder);
    const isThere = await refuseLinks(root, folder);
    const recordPath = join(records, `${key}.json`);
    const isOurs = (await readFile(recordPath, 'utf8').catch(() => undefined)) !== undefined;
    if (!isOurs) {
      await refuseNested(records, folder);
      if (isThere && (await readdir(dir)).length > 0) throw notOurs(folder);
      // Before anything is in it: a sync that is killed leaves a folder that the next one knows.
      await writeFile(`${recordPath}.new`, JSON.stringify({ folder }), { mode: 0o600 });
      await rename(`${recordPath}.new`, recordPath);
    }
    await mkdir(dir, { recursive: true });
    return { dir, isNew: !isOurs, key, [Symbol.dispose]: () => lock.release() };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** The workspaces below a root: folders in which a sync has begun, whether or not they still exist. */
export async function listWorkspaceFolders(root: string): Promise<readonly string[]> {
  return (await readRecords(join(root, recordsFolder))).sort();
}

/**
 * Removes a workspace with all that is in it, if it is one; nothing happens otherwise. Throws what
 * {@link claimWorkspaceFolder} does.
 */
export async function removeWorkspaceFolder(root: string, folder: string): Promise<void> {
  if (!(await listWorkspaceFolders(root)).includes(folder)) return;
  using claimed = await claimWorkspaceFolder(root, folder);
  await removeWorkingCopy(claimed.dir);
  // Last: what a kill leaves is still known as a workspace.
  await rm(join(root, recordsFolder, `${claimed.key}.json`), { force: true });
}

function checkRoot(root: string): void {
  if (isAbsolute(root) && normalize(root) === root && parse(root).root !== root && !root.includes('\0')) return;
  throw new DroverError({
    code: 'WORKSPACE_ROOT_INVALID',
    advice: 'fix-input',
    message: `The root of workspaces must be an absolute, normalized path of a folder, not ${JSON.stringify(root)}`,
  });
}

/** Names that are safe on every file system, and none that Drover, git or a shell read otherwise. */
function checkFolder(folder: string): void {
  const names = folder.split('/');
  const isName = (name: string): boolean => /^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(name) && !name.endsWith('.');
  if (folder.length <= folderLengthMax && names.length <= depthMax && names.every(isName)) return;
  throw new DroverError({
    code: 'WORKSPACE_FOLDER_INVALID',
    advice: 'fix-input',
    message:
      `The folder of a workspace is ${JSON.stringify(folder.slice(0, 300))}; allowed is a path below the root such as ` +
      `engine/main: names of letters, digits, ".", "_" and "-" that begin with a letter, digit or "_", with "/" between, at ` +
      `most ${folderLengthMax} characters and ${depthMax} names`,
  });
}

/** True if the folder is there. */
async function refuseLinks(root: string, folder: string): Promise<boolean> {
  let at = root;
  for (const name of folder.split('/')) {
    at = join(at, name);
    const stats = await lstat(at).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (stats === undefined) return false;
    if (stats.isDirectory()) continue;
    throw new DroverError({
      code: 'WORKSPACE_FOLDER_LINKED',
      advice: 'denied',
      message: `${at} is ${stats.isSymbolicLink() ? 'a symbolic link' : 'no folder'}; a workspace is never reached through one`,
    });
  }
  return true;
}

async function refuseNested(records: string, folder: string): Promise<void> {
  for (const other of await readRecords(records)) {
    if (!`${folder}/`.startsWith(`${other}/`) && !`${other}/`.startsWith(`${folder}/`)) continue;
    throw new DroverError({
      code: 'WORKSPACE_NESTED',
      advice: 'conflict',
      message: `The folder ${folder} and that of the workspace ${other} are inside one another`,
    });
  }
}

async function readRecords(records: string): Promise<string[]> {
  const folders: string[] = [];
  for (const name of await readdir(records).catch(() => [])) {
    if (!name.endsWith('.json')) continue;
    const text = await readFile(join(records, name), 'utf8').catch(() => '');
    const folder = folderOf(text);
    // The name of the record proves the folder: one that was tampered with says nothing.
    if (folder !== undefined && `${keyOf(folder)}.json` === name) folders.push(folder);
  }
  return folders;
}

function folderOf(text: string): string | undefined {
  try {
    const { folder } = JSON.parse(text) as { readonly folder?: unknown };
    return typeof folder === 'string' ? folder : undefined;
  } catch {
    return undefined;
  }
}

function notOurs(folder: string): DroverError {
  return new DroverError({
    code: 'WORKSPACE_NOT_OURS',
    advice: 'conflict',
    message: `The folder ${folder} holds something that no sync made; move it away, or name another folder`,
  });
}

const keyOf = (folder: string): string => createHash('sha256').update(folder).digest('hex').slice(0, 32);
