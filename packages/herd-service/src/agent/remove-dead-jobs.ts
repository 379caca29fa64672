import type { BlobPins } from '@drover/content-store';
import type { Logger } from '@drover/lease-kit';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { removeJobFolder } from './remove-job-folder.ts';

/**
 * Removes the folders of jobs that an earlier process ran, whose processes have been ended before, and ends their pins. Gives how
 * many there were. One that cannot be removed is left and told of: an agent that does not start is worse.
 */
export async function removeDeadJobs(jobsDir: string, pins: BlobPins, logger: Logger): Promise<number> {
  const names = await readdir(jobsDir);
  for (const name of names) {
    try {
      await removeJobFolder(join(jobsDir, name));
    } catch (error) {
      logger.error({ err: error, folder: join(jobsDir, name) }, 'the folder of a herd job cannot be removed');
    }
    await pins.unpin(`herd:${name}`);
  }
  return names.length;
}
