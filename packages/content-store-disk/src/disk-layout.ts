import { DroverError } from '@drover/lease-kit';
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '@drover/content-store';

const format = 'drover-content-store 1\n';

/**
 * Where things stand in the store's folder. Everything is on one file system, since blobs come into place by hard links
 * and renames.
 *
 * ```
 * format                                   what wrote this folder
 * boot                                     of a store that is good for one start of the machine: which
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

  readonly #bootId: string | undefined;

  /** With `bootId`: nothing is synced, and what another start of the machine left is not trusted. */
  constructor(root: string, bootId?: string) {
    this.root = root;
    this.#bootId = bootId;
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
    const folders = [this.blobs, this.uploads, this.pins, this.trash];
    await this.#clearAfterBoot(folders);
    for (const folder of folders) await mkdir(folder, { recursive: true });
  }

  /** What was not synced may be anything after the machine went down: it goes before it is read. */
  async #clearAfterBoot(folders: readonly string[]): Promise<void> {
    const file = join(this.root, 'boot');
    const found = await readFile(file, 'utf8').catch(nullIfAbsent);
    if (found === (this.#bootId ?? null)) return;
    // A store that was synced until now has nothing to lose by the change; one that was not has.
    if (found !== null) for (const folder of folders) await rm(folder, { recursive: true, force: true });
    if (this.#bootId === undefined) return await rm(file, { force: true });
    const temporary = `${file}.${this.instance}`;
    const handle = await open(temporary, 'w');
    try {
      await handle.writeFile(this.#bootId);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
    // Before anything is written without being synced.
    await syncFolder(this.root);
  }

  /** True if what is written outlives the machine's crash. */
  get isSynced(): boolean {
    return this.#bootId === undefined;
  }

  /** Makes entries of a folder durable, unless the store is good for one start of the machine alone. */
  async syncFolder(folder: string): Promise<void> {
    if (this.#bootId === undefined) await syncFolder(folder);
  }

  /** The same for what a file holds. */
  async syncFile(file: FileHandle): Promise<void> {
    if (this.#bootId === undefined) await file.sync();
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

/** Where folders can't be synced (Windows) the system does it by itself. */
async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    await handle.sync().finally(() => handle.close());
  } catch (error) {
    if (!['EISDIR', 'EPERM', 'EINVAL', 'EACCES'].includes(errorCode(error))) throw error;
  }
}
