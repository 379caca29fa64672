import { readdir, readlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { replaceFile, type DurableFiles } from './durable-files.ts';
import type { SupervisorFolder } from './supervisor-folder.ts';
import { isVersionName, readRecord } from './switch-record.ts';

/** What the folder of a version says of itself. */
export interface VersionRecord {
  readonly version: string;
  /** Lower-case hexadecimal SHA-256 of the bundle. */
  readonly bundle: string;
  /** Path inside the folder's `bundle` of the file that starts it. */
  readonly entry: string;
}

/** What tells a version from all others. */
export type VersionId = Pick<VersionRecord, 'version' | 'bundle'>;

/** Fills a folder with a bundle; what it wrote must be on the disk when it resolves. */
export type UnpackVersion = (bundleFolder: string) => Promise<Pick<VersionRecord, 'entry'>>;

/** Name of a version's folder: the version and enough of the bundle to tell two builds of it apart. */
export function versionName({ version, bundle }: VersionId): string {
  return `${version}-${bundle.slice(0, 16)}`;
}

/** The record of a version whose folder is complete; undefined for any other. */
export async function readVersion(folder: SupervisorFolder, name: string): Promise<VersionRecord | undefined> {
  return isVersionName(name) ? readRecord<VersionRecord>(join(folder.versions, name, 'version.json')) : undefined;
}

/** Name of the version that `current` leads to; undefined if there is no such link. */
export async function currentVersion(folder: SupervisorFolder): Promise<string | undefined> {
  try {
    return basename(await readlink(folder.current));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Puts a version beside the others; answers its name. The version appears under its name in one step, when it is complete; one that is there stays.
 */
export async function installVersion(
  folder: SupervisorFolder,
  files: DurableFiles,
  { version, bundle }: VersionId,
  unpack: UnpackVersion,
): Promise<string> {
  const name = versionName({ version, bundle });
  if (!isVersionName(name)) throw new TypeError(`${JSON.stringify(name)} cannot be the name of a version`);
  if ((await readVersion(folder, name)) !== undefined) return name;
  const staging = join(folder.versions, `.new-${name}`);
  await files.remove(staging);
  await files.makeFolder(join(staging, 'bundle'));
  const { entry } = await unpack(join(staging, 'bundle'));
  const record: VersionRecord = { version, bundle, entry };
  await replaceFile(files, join(staging, 'version.json'), `${JSON.stringify(record)}\n`);
  await files.rename(staging, join(folder.versions, name));
  await files.syncFolder(folder.versions);
  return name;
}

/** Leads `current` to a version, in one step. */
export async function makeCurrent(folder: SupervisorFolder, files: DurableFiles, name: string): Promise<void> {
  if ((await currentVersion(folder)) !== name) {
    const next = `${folder.current}.next`;
    await files.remove(next);
    await files.link(join('versions', name), next);
    await files.rename(next, folder.current);
  }
  await files.syncFolder(folder.home);
}

/** Removes every version but those of `keep`. */
export async function pruneVersions(
  folder: SupervisorFolder,
  files: DurableFiles,
  keep: readonly string[],
): Promise<void> {
  for (const name of await readdir(folder.versions)) {
    if (name.startsWith('.') || keep.includes(name)) continue;
    // Out of the way first: a folder that is half gone must not look complete.
    await files.rename(join(folder.versions, name), join(folder.versions, `.gone-${name}`));
    await files.remove(join(folder.versions, `.gone-${name}`));
  }
}

/** Removes what was left half made or half removed. Only while no agent runs: it may be making one. */
export async function removeUnfinished(folder: SupervisorFolder, files: DurableFiles): Promise<void> {
  for (const name of await readdir(folder.versions)) {
    if (name.startsWith('.')) await files.remove(join(folder.versions, name));
  }
}
