import { DroverError } from '@drover/lease-kit';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * Makes the folders of a service that are missing, and gives those to `owner` (undefined: the user who asks) that are root's
 * alone. Answers what was done. Throws `SERVICE_FOLDER_FAILED`.
 */
export async function makeServiceFolders(
  folders: readonly string[],
  owner: string | undefined,
  signal: AbortSignal,
): Promise<string[]> {
  const done: string[] = [];
  for (const folder of folders) {
    try {
      if (!existsSync(folder)) {
        await mkdir(folder, { recursive: true, mode: 0o750 });
        done.push(`made ${folder}`);
      }
      if (owner === undefined) continue;
      const { uid } = await stat(folder);
      if (uid !== 0) continue;
      // What root put there, such as the first version under a supervisor, is the service's to replace.
      await run('chown', ['--recursive', '--no-dereference', `${owner}:`, '--', folder], { signal });
      done.push(`gave ${folder} to ${owner}`);
    } catch (error) {
      signal.throwIfAborted();
      throw new DroverError({
        code: 'SERVICE_FOLDER_FAILED',
        advice: 'fix-input',
        message: `${folder}, which the service writes, cannot be made ready: ${(error as Error).message.trim()}`,
        cause: error,
      });
    }
  }
  return done;
}
