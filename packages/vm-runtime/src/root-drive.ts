import { DroverError, messageOf } from '@drover/lease-kit';
import { execFile } from 'node:child_process';
import { rmSync, truncateSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import type { UnpackedImage } from './sandbox-image.ts';

const run = promisify(execFile);
const mebibyte = 1024 * 1024;
/** What the file system itself takes, beside the files. */
const overheadShare = 1.15;
const overheadBytes = 8 * mebibyte;
const bytesPerInode = 4_096;
const inodesMin = 4_096;

/**
 * Makes an ext4 file system of an image's files without mounting it, by mke2fs(8), with owners and permissions by debugfs(8).
 * The same image gives the same bytes, but for the times of change of its folder's files. Throws `IMAGE_INVALID`.
 */
export async function makeRootDrive(image: UnpackedImage, path: string, signal: AbortSignal): Promise<number> {
  const sizeBytes = Math.ceil((image.sizeBytes * overheadShare + overheadBytes) / mebibyte) * mebibyte;
  const inodes = Math.max(inodesMin, Math.ceil(image.sizeBytes / bytesPerInode));
  writeFileSync(path, '', { mode: 0o600 });
  truncateSync(path, sizeBytes);
  const fixed = [
    '-U',
    '6d1f2c4e-0000-4000-8000-000000000001',
    '-E',
    'hash_seed=6d1f2c4e-0000-4000-8000-000000000002,root_owner=0:0',
  ];
  const options = ['-q', '-F', '-t', 'ext4', '-O', '^has_journal', '-m', '0', '-N', String(inodes), ...fixed];
  try {
    await run('mke2fs', [...options, '-d', image.folder, path], {
      signal,
      env: { PATH: toolPath(), E2FSPROGS_FAKE_TIME: '1' },
    });
    if (image.entries.length > 0) await setOwners(image, path, signal);
  } catch (error) {
    rmSync(path, { force: true });
    signal.throwIfAborted();
    throw new DroverError({
      code: 'IMAGE_INVALID',
      advice: 'conflict',
      message: `no root drive could be made of the image ${image.digest}: ${messageOf(error)}`,
      cause: error,
    });
  }
  return sizeBytes;
}

/** mke2fs and its like are the administrator's: not on everybody's path. */
function toolPath(): string {
  return `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;
}

async function setOwners({ entries }: UnpackedImage, path: string, signal: AbortSignal): Promise<void> {
  // Permissions come from the folder; owners are those of who unpacked it where that was no root.
  const script = entries.flatMap(({ path: file, uid, gid }) => {
    const name = `"/${file.replaceAll('"', '')}"`;
    return [`sif ${name} uid ${uid}`, `sif ${name} gid ${gid}`];
  });
  const commands = `${path}.debugfs`;
  writeFileSync(commands, `${script.join('\n')}\n`);
  try {
    await run('debugfs', ['-w', '-f', commands, path], { signal, env: { PATH: toolPath(), E2FSPROGS_FAKE_TIME: '1' } });
  } finally {
    rmSync(commands, { force: true });
  }
}
