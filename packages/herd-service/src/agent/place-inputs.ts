import {
  blobNotFound,
  digestMismatch,
  forEachLimited,
  type BlobCopies,
  type BlobPins,
  type ContentStore,
  type Digest,
} from '@drover/content-store';
import { randomUUID } from 'node:crypto';
import { chmodSync, renameSync } from 'node:fs';
import { mkdir, open, realpath, rm } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import type { JobFile } from './check-job.ts';
import { diskFull, herdError, isDiskFull } from './herd-errors.ts';

/** The agent's own store: blobs that live jobs need are pinned in it. */
export type HerdContent = ContentStore & BlobPins & Partial<BlobCopies>;

const filesAtOnce = 8;

/**
 * Pins the contents of files for `owner` and puts them into a folder, each complete under its name at once. Never through a
 * symbolic link out of the folder. Throws `BLOB_NOT_FOUND`, `HERD_DISK_FULL`, `HERD_INPUT_UNPLACEABLE` (a file stands where a folder
 * belongs, or the reverse), and the signal's reason on abort.
 */
export async function placeInputs(
  files: readonly JobFile[],
  into: { readonly folder: string; readonly owner: string },
  content: HerdContent,
  signal: AbortSignal,
): Promise<void> {
  if (files.length === 0) return;
  const missing = await content.pin(
    files.map(({ digest }) => digest),
    { owner: into.owner, signal },
  );
  if (missing[0]) throw blobNotFound(missing[0]);
  const root = await realpath(into.folder);
  const made = new Set<string>();
  try {
    await forEachLimited(files, filesAtOnce, async (file) => {
      signal.throwIfAborted();
      const target = join(root, file.path);
      const parent = dirname(target);
      if (!made.has(parent)) {
        await makeFolder(root, parent, file.path);
        made.add(parent);
      }
      const temporary = join(parent, `.drover-${randomUUID()}`);
      try {
        await fill(temporary, file.digest, content, signal);
        // Here and now: by another thread each would cost many times as much.
        chmodSync(temporary, file.executable ? 0o755 : 0o644);
        renameSync(temporary, target);
      } catch (error) {
        await rm(temporary, { force: true });
        throw error;
      }
    });
  } catch (error) {
    if (isDiskFull(error)) throw diskFull(error);
    if (['EISDIR', 'ENOTDIR', 'EEXIST', 'ENOTEMPTY'].includes((error as NodeJS.ErrnoException).code ?? '')) {
      const message = `An input cannot be placed: a file stands where a folder belongs, or the reverse`;
      throw herdError('HERD_INPUT_UNPLACEABLE', 'fix-input', message, { cause: error });
    }
    throw error;
  }
}

async function makeFolder(root: string, parent: string, path: string): Promise<void> {
  if (parent === root) return;
  await mkdir(parent, { recursive: true });
  const real = await realpath(parent);
  if (real === root || real.startsWith(root + sep)) return;
  const message = `The input ${JSON.stringify(path)} would be placed out of the job's folder, through a symbolic link`;
  throw herdError('HERD_INPUT_UNPLACEABLE', 'fix-input', message);
}

async function fill(file: string, digest: Digest, content: HerdContent, signal: AbortSignal): Promise<void> {
  if (content.copyTo !== undefined) return content.copyTo(digest, file, { signal });
  const handle = await open(file, 'wx');
  let sizeBytes = 0;
  try {
    for await (const chunk of content.read(digest, { signal })) {
      for (let at = 0; at < chunk.byteLength;) at += (await handle.write(chunk, at)).bytesWritten;
      sizeBytes += chunk.byteLength;
    }
  } finally {
    await handle.close();
  }
  if (sizeBytes !== digest.sizeBytes) throw digestMismatch(digest, { sizeBytes });
}
