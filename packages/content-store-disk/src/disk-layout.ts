import { DroverError } from '@drover/lease-kit';
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '@drover/content-store';

const format = 'drover-content-store 1\n';

/**
 * Where things stand in the store's folder. Everything is on one file system, since blobs come into place by hard links
 * and renames.
 *
 * ```
 * format                                   what wrote this folder
 * blobs/ab/cd/<hash>-<size>                a blob; modification time = last use; more than one link = pinned
 * uploads/<key>.<instance>.part            bytes on their way in
 * pins/<owner key>/pin.json                owner and expiry
 * pins/<owner key>/<hash>-<size>           a hard link to the blob
 * trash/<hash>-<size>.<instance>           a blob between the decision to remove it and its removal
 * ```
 */
export class DiskLayout {
  readonly root: string;
  /** Tells this opening of the folder from every other, in this process or not. */
  readonly instance: string = randomUUID();
  readonly blobs: string;
  readonly uploads: string;
  readonly pins: string;
  readonly trash: string;

  constructor(root: string) {
    this.root = root;
    this.blobs = join(root, 'blobs');
    this.uploads = join(root, 'uploads');
    this.pins = join(root, 'pins');
    this.trash = join(root, 'trash');
  }

  /** Makes the folders, or checks that they are ours. Throws `CONTENT_STORE_FORMAT`. */
  async prepare(): Promise<void> {
    await mkdir(this.root, { recursive: true });
    const file = join(this.root, 'format');
    const found = await readFile(file, 'utf8').catch(nullIfAbsent);
    if (found === null) {
      const temporary = `${file}.${this.instance}`;
      await writeFile(temporary, format);
      await rename(temporary, file);
    } else if (found !== format) {
      throw new DroverError({
        code: 'CONTENT_STORE_FORMAT',
        advice: 'fix-input',
        message: `${file} says "${found.slice(0, 100).trim()}": this version reads "${format.trim()}"`,
      });
    }
    for (const folder of [this.blobs, this.uploads, this.pins, this.trash]) await mkdir(folder, { recursive: true });
  }

  blobFolder(digest: Digest): string {
    return join(this.blobs, digest.hash.slice(0, 2), digest.hash.slice(2, 4));
  }

  blob(digest: Digest): string {
    return join(this.blobFolder(digest), blobName(digest));
  }

  /** The place of a blob by its file name. */
  blobNamed(name: string): string {
    return join(this.blobs, name.slice(0, 2), name.slice(2, 4), name);
  }

  /** Where this instance puts a blob aside. */
  trashed(name: string): string {
    return join(this.trash, `${name}.${this.instance}`);
  }

  part(key: string): string {
    return join(this.uploads, `${key}.${this.instance}.part`);
  }

  pinFolder(owner: string): string {
    return join(this.pins, createHash('sha256').update(owner).digest('hex').slice(0, 40));
  }
}

/** The file name of a blob. */
export function blobName(digest: Digest): string {
  return `${digest.hash}-${digest.sizeBytes}`;
}

/** The file name part of an upload, which gives nothing away of the id and can't leave the folder. */
export function uploadKey(uploadId: string, digest: Digest): string {
  return createHash('sha256')
    .update(`${blobName(digest)} ${uploadId}`)
    .digest('hex')
    .slice(0, 40);
}

/** For `.catch`: absence of the file is `null`, any other error stays one. */
export function nullIfAbsent(error: unknown): null {
  if (errorCode(error) === 'ENOENT') return null;
  throw error;
}

/** The `code` of a Node error; an empty string if it has none. */
export function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** True for what the system says when it has no room: device full, quota, or too large a file. */
export function isFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(errorCode(error));
}

/** Makes entries of a folder durable. Where folders can't be synced (Windows) the system does it by itself. */
export async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    await handle.sync().finally(() => handle.close());
  } catch (error) {
    if (!['EISDIR', 'EPERM', 'EINVAL', 'EACCES'].includes(errorCode(error))) throw error;
  }
}
