import { createDigestHasher, digestToWire, type Digest } from '@drover/content-store';
import { messageOf } from '@drover/lease-kit';
import { constants } from 'node:fs';
import { open, realpath, type FileHandle } from 'node:fs/promises';
import { join, sep } from 'node:path';
import type { JobMessage } from './job-responses.ts';
import type { HerdContent } from './place-inputs.ts';

/** What is looked for, where, and for whom. */
export interface OutputRequest {
  /** As the client named it. */
  readonly path: string;
  /** The task that it belongs to; absent: the job. */
  readonly task?: string | undefined;
  /** The job's folder. */
  readonly folder: string;
  /** Who pins it, and how long at most. */
  readonly owner: string;
  readonly keptMs: number;
  readonly sizeBytesMax: number;
}

const chunkBytes = 1024 * 1024;

/**
 * Looks for an output and puts it into the store, where it stays for a while. Answers what the client is told: found, or missing and
 * why. Never throws.
 */
export async function gatherOutput(request: OutputRequest, content: HerdContent): Promise<JobMessage> {
  const { path, task = '' } = request;
  const missing = (code: string, message: string): JobMessage => ({
    case: 'missing',
    value: { path, task, code, message: `${JSON.stringify(path)} ${message}` },
  });
  try {
    const root = await realpath(request.folder);
    const real = await realpath(join(root, path));
    if (!real.startsWith(root + sep)) {
      return missing('OUTPUT_OUTSIDE_FOLDER', 'leads out of the job’s folder; outputs are files in it');
    }
    // A FIFO or a device must not hang anybody; a link that has just taken the file's place is not followed.
    const file = await open(real, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    try {
      const stats = await file.stat();
      if (!stats.isFile()) return missing('OUTPUT_NOT_A_FILE', 'is no file; folders are not brought back');
      if (stats.size > request.sizeBytesMax) {
        const said = `has ${stats.size} bytes; at most ${request.sizeBytesMax} are brought back`;
        return missing('OUTPUT_TOO_LARGE', said);
      }
      const digest = await digestOf(file, stats.size);
      await content.write(digest, (offset) => chunksOf(file, offset, digest.sizeBytes));
      await content.pin([digest], { owner: request.owner, expiresAfterMs: request.keptMs });
      const executable = (stats.mode & 0o111) !== 0;
      return { case: 'output', value: { file: { path, digest: digestToWire(digest), executable }, task } };
    } finally {
      await file.close();
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return missing('OUTPUT_NOT_FOUND', 'was not written');
    if (code === 'ENXIO' || code === 'ELOOP') return missing('OUTPUT_NOT_A_FILE', 'is no file');
    return missing('OUTPUT_NOT_STORED', `was written and could not be kept: ${messageOf(error)}`);
  }
}

async function digestOf(file: FileHandle, sizeBytes: number): Promise<Digest> {
  const hasher = createDigestHasher();
  for await (const chunk of chunksOf(file, 0, sizeBytes)) hasher.update(chunk);
  return hasher.digest();
}

async function* chunksOf(file: FileHandle, offset: number, sizeBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = offset; at < sizeBytes;) {
    const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, sizeBytes - at));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}
