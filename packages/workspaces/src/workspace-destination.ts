import { DroverError } from '@drover/lease-kit';
import { chmod, mkdir, readdir, rm } from 'node:fs/promises';
import { isAbsolute, join, normalize, parse } from 'node:path';

/**
 * Makes sure that a working copy may be made at `destination`, and makes the folder. Throws
 * `WORKSPACE_DESTINATION_INVALID` (`fix-input`) for a path that is relative, unclean or a root, and
 * `WORKSPACE_DESTINATION_NOT_EMPTY` (`conflict`) when something is there already, which is left as it is.
 */
export async function prepareDestination(destination: string): Promise<void> {
  const clean = normalize(destination).replace(/(?<=.)\/$/, '');
  if (
    !isAbsolute(destination) ||
    clean !== destination ||
    parse(destination).root === destination ||
    destination.includes('\0')
  ) {
    throw new DroverError({
      code: 'WORKSPACE_DESTINATION_INVALID',
      advice: 'fix-input',
      message: `The destination of a working copy must be an absolute, normalized path of a folder, not ${JSON.stringify(destination)}`,
    });
  }
  let names: string[];
  try {
    await mkdir(destination, { recursive: true });
    names = await readdir(destination);
  } catch (error) {
    throw new DroverError({
      code: 'WORKSPACE_DESTINATION_INVALID',
      advice: 'fix-input',
      message: `The destination ${destination} cannot be made: ${(error as Error).message}`,
      cause: error,
    });
  }
  if (names.length > 0) {
    throw new DroverError({
      code: 'WORKSPACE_DESTINATION_NOT_EMPTY',
      advice: 'conflict',
      message: `The destination ${destination} holds ${names.length} entries already; it must not exist, or be empty`,
    });
  }
}

/** Removes a working copy, also where a job took the right to write from its folders. Idempotent. */
export async function removeWorkingCopy(dir: string): Promise<void> {
  try {
    await rm(dir, { recursive: true, force: true, maxRetries: 3 });
  } catch (error) {
    if (!['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    await makeFoldersWritable(dir);
    await rm(dir, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function makeFoldersWritable(dir: string): Promise<void> {
  await chmod(dir, 0o700);
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeFoldersWritable(join(dir, entry.name));
  }
}
