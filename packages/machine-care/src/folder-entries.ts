import { lstat, opendir, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Something directly below a folder that is kept clean. */
export interface FolderEntry {
  readonly name: string;
  readonly path: string;
  /** When it was last changed; of a folder, also what stands directly below it. */
  readonly usedMs: number;
  /** Of a folder, of all below it; links are not followed. */
  readonly sizeBytes: number;
}

/** Entries of one folder that are looked at, and files that are counted for one entry; what is beyond waits its turn. */
const entriesMax = 10_000;
const filesMax = 200_000;

/** What stands directly below a folder; nothing for one that is not there. */
export async function folderEntries(
  folder: string,
  accepts: (name: string) => boolean,
  signal: AbortSignal,
): Promise<FolderEntry[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
    throw error;
  });
  const entries: FolderEntry[] = [];
  for (const name of names.filter(accepts).slice(0, entriesMax)) {
    signal.throwIfAborted();
    const entry = await entryOf(name, join(folder, name), signal);
    if (entry !== undefined) entries.push(entry);
  }
  return entries;
}

async function entryOf(name: string, path: string, signal: AbortSignal): Promise<FolderEntry | undefined> {
  // Something may go while it is looked at.
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return undefined;
  if (!found.isDirectory()) return { name, path, usedMs: found.mtimeMs, sizeBytes: sizeOf(found) };
  let usedMs = found.mtimeMs;
  let sizeBytes = sizeOf(found);
  let files = 0;
  const open = [{ path, depth: 0 }];
  for (let at = open.pop(); at !== undefined && files < filesMax; at = open.pop()) {
    signal.throwIfAborted();
    const folder = await opendir(at.path).catch(() => undefined);
    if (folder === undefined) continue;
    for await (const child of folder) {
      const childPath = join(at.path, child.name);
      const stats = await lstat(childPath).catch(() => undefined);
      if (stats === undefined) continue;
      files += 1;
      sizeBytes += sizeOf(stats);
      if (at.depth === 0) usedMs = Math.max(usedMs, stats.mtimeMs);
      if (stats.isDirectory()) open.push({ path: childPath, depth: at.depth + 1 });
      if (files >= filesMax) break;
    }
  }
  return { name, path, usedMs, sizeBytes };
}

/** What it takes of the disk, which a file with holes has less of than it is long. */
function sizeOf(stats: { readonly blocks: number; readonly size: number }): number {
  return stats.blocks > 0 ? stats.blocks * 512 : Math.min(stats.size, 512);
}
