import { mkdir, open, rename, rm, symlink } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * The steps by which the folder of a supervisor changes. Each either has happened or has not, also when the power goes in
 * between; what is in the folder is right after any of them.
 */
export interface DurableFiles {
  /** Makes a folder and those above it; harmless if it is there. */
  makeFolder(path: string): Promise<void>;
  /** Writes a file whose bytes are on the disk when it resolves; one that is there is replaced. */
  writeFile(path: string, text: string): Promise<void>;
  /** Makes a symbolic link where nothing is. */
  link(target: string, path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, or a folder with all that is in it; harmless if there is nothing. */
  remove(path: string): Promise<void>;
  /** What was made in, moved into or removed from a folder is on the disk when it resolves. */
  syncFolder(path: string): Promise<void>;
}

/** The file system of this machine. */
export const machineFiles: DurableFiles = {
  async makeFolder(path) {
    await mkdir(path, { recursive: true, mode: 0o755 });
  },
  async writeFile(path, text) {
    const file = await open(path, 'w', 0o644);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
  },
  link: (target, path) => symlink(target, path),
  rename: (from, to) => rename(from, to),
  remove: (path) => rm(path, { recursive: true, force: true }),
  async syncFolder(path) {
    const folder = await open(path, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  },
};

/** Puts a file where a reader sees the old bytes or the new ones and nothing in between, after a power cut too. */
export async function replaceFile(files: DurableFiles, path: string, text: string): Promise<void> {
  await files.writeFile(`${path}.next`, text);
  await files.rename(`${path}.next`, path);
  await files.syncFolder(dirname(path));
}
