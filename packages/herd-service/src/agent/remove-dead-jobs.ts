import type { BlobPins } from '@drover/content-store';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Removes the folders of jobs that an earlier process ran, whose processes have been ended before, and ends their pins. Gives how
 * many there were.
 */
export async function removeDeadJobs(jobsDir: string, pins: BlobPins): Promise<number> {
  const names = await readdir(jobsDir);
  for (const name of names) {
    await rm(join(jobsDir, name), { recursive: true, force: true, maxRetries: 3 });
    await pins.unpin(`herd:${name}`);
  }
  return names.length;
}
