import { randomUUID } from 'node:crypto';
import { chmod, lstat, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/**
 * Writes an object as the compiler would, but all at once: nobody sees half of it. What is no regular file of one name is
 * written through, as the compiler does it.
 */
export async function writeObject(path: string, content: Uint8Array, mode: number): Promise<void> {
  const there = await lstat(path).catch(() => undefined);
  if (there !== undefined && (!there.isFile() || there.nlink > 1)) {
    await writeFile(path, content);
    return;
  }
  const beside = join(dirname(path), `.drover-${randomUUID()}`);
  try {
    await writeFile(beside, content, { flag: 'wx' });
    await chmod(beside, there === undefined ? mode : there.mode & 0o777);
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true });
    throw error;
  }
}
