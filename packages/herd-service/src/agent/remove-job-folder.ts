import { chmod, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

const attemptsMax = 3;

/**
 * Removes the folder of a job with all that its tasks made in it, also where they took the right to write from folders, as
 * package managers do with their caches. A step at a time: what a task makes may be a million files. Idempotent.
 */
export async function removeJobFolder(dir: string): Promise<void> {
  const remove = (): Promise<void> => rm(dir, { recursive: true, force: true, maxRetries: attemptsMax });
  try {
    await remove();
  } catch (error) {
    if (!['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    await makeFoldersWritable(dir);
    await remove();
  }
}

/** Folders alone, and never through a link. */
async function makeFoldersWritable(dir: string): Promise<void> {
  await chmod(dir, 0o700);
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeFoldersWritable(join(dir, entry.name));
  }
}
