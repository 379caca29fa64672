import { DroverError } from '@drover/lease-kit';
import type { BlobDigest } from '@drover/lease-protocol';
import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, mkdir, mkdtemp, open, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';

/** An output that came with the results. */
export interface StagedOutput {
  readonly digest: Pick<BlobDigest, 'hash' | 'sizeBytes'>;
}

/**
 * Where outputs are kept from the agent's results until they are asked for by their content, in a folder that goes with it. What
 * they are called has no part in where they stand.
 */
export class StagedOutputs implements AsyncDisposable {
  readonly #folder: string;
  /** By content. Several outputs of the same content are kept once. */
  readonly #files = new Map<string, { readonly path: string; uses: number }>();

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** In a new folder of `parent`; absent: of the platform's folder for temporary files. */
  static async open(parent: string = tmpdir()): Promise<StagedOutputs> {
    return new StagedOutputs(await mkdtemp(join(parent, 'drover-legacy-')));
  }

  /** Keeps what `pieces` yields. Rejects with what it throws, and keeps nothing then. */
  async keep(pieces: AsyncIterable<Uint8Array>): Promise<StagedOutput> {
    const path = join(this.#folder, randomUUID());
    const hash = createHash('sha256');
    let sizeBytes = 0;
    try {
      await using file = await open(path, 'wx');
      for await (const piece of pieces) {
        await file.writeFile(piece);
        hash.update(piece);
        sizeBytes += piece.byteLength;
      }
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
    const digest = { hash: hash.digest('hex'), sizeBytes: BigInt(sizeBytes) };
    const before = this.#files.get(digest.hash);
    if (before === undefined) this.#files.set(digest.hash, { path, uses: 1 });
    else {
      before.uses += 1;
      await rm(path, { force: true });
    }
    return { digest };
  }

  /** Removes an output that a later one of the same name has replaced. */
  async drop({ digest: { hash } }: StagedOutput): Promise<void> {
    const file = this.#files.get(hash);
    if (file === undefined || --file.uses > 0) return;
    this.#files.delete(hash);
    await rm(file.path, { force: true });
  }

  /** Copies a content to `target`, whose folder is made, by way of a temporary name beside it. Throws `BLOB_NOT_FOUND`. */
  async copyTo({ hash }: Pick<BlobDigest, 'hash'>, target: string): Promise<void> {
    const file = this.#files.get(hash);
    if (file === undefined) {
      throw new DroverError({
        code: 'BLOB_NOT_FOUND',
        advice: 'not-found',
        message: `no output of the content ${hash} came from the agent`,
      });
    }
    const temporary = join(dirname(target), `.${basename(target).slice(0, 100)}.${randomUUID()}.part`);
    await mkdir(dirname(target), { recursive: true });
    try {
      await copyFile(file.path, temporary, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      await rename(temporary, target);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#files.clear();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
