import { closeSync, openSync, readSync } from 'node:fs';

/** Longest text that is read: files of the kernel and of boot tools are far smaller. */
const bytesMax = 512 * 1024;

/** Reads small files of this machine. */
export interface SystemFiles {
  /** The text, trimmed; undefined for a file that is not there, may not be read, or is longer than 512 KiB. */
  read(path: string): string | undefined;
}

/** The files under a root folder, `/` but in tests. Only for what the kernel and boot tools write, which no network serves. */
export function systemFiles(root = ''): SystemFiles {
  return {
    read(path) {
      try {
        const file = openSync(`${root}${path}`, 'r');
        try {
          const buffer = Buffer.alloc(bytesMax + 1);
          let length = 0;
          for (let got = 1; got > 0 && length <= bytesMax; length += got) {
            got = readSync(file, buffer, length, buffer.length - length, null);
          }
          return length > bytesMax ? undefined : buffer.toString('utf8', 0, length).trim();
        } finally {
          closeSync(file);
        }
      } catch {
        return undefined;
      }
    },
  };
}
