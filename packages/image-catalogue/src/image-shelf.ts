import { messageOf, type Logger } from '@drover/lease-kit';
import { tryLockFile } from '@drover/process-runner';
import type { UnpackedImage } from '@drover/vm-runtime';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, readdirSync, renameSync, statSync, utimesSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { hexOfDigest } from './image-digest.ts';
import { imageFault } from './image-fault.ts';

const run = promisify(execFile);

const shape = z.strictObject({
  format: z.literal(1),
  digest: z.string(),
  sizeBytes: z.number().min(0),
  entries: z.array(z.strictObject({ path: z.string(), uid: z.number(), gid: z.number(), mode: z.number() })),
});

/** An image on the shelf. */
export interface ShelvedImage {
  readonly image: UnpackedImage;
  /** Milliseconds since the Unix epoch. */
  readonly lastUsedMs: number;
}

/**
 * Where images stand on the disk; the folder belongs to one process at a time.
 *
 * ```
 * images/<64 digits>/root            the files of an image, complete
 * images/<64 digits>/image.json      what is known of it; modification time = last use
 * building/<uuid>/                   one on its way in; comes to images/ by one rename
 * leaving/<64 digits>.<uuid>/        one on its way out; left images/ by one rename
 * ```
 */
export class ImageShelf implements Disposable {
  readonly #dir: string;
  readonly #logger: Logger;
  readonly #release: () => void;

  /** Throws `IMAGE_CATALOGUE_IN_USE`. */
  constructor(dir: string, logger: Logger) {
    this.#dir = dir;
    this.#logger = logger;
    for (const name of ['images', 'building', 'leaving']) mkdirSync(join(dir, name), { recursive: true, mode: 0o700 });
    const lock = tryLockFile(join(dir, 'catalogue.lock'));
    if (lock === undefined) throw imageFault('IMAGE_CATALOGUE_IN_USE', `another process keeps its images in ${dir}`);
    this.#release = lock.release;
  }

  /** Removes what was half built or half removed, and answers what is whole, and the digests of what had been leaving. */
  async recover(
    signal: AbortSignal,
  ): Promise<{ readonly images: readonly ShelvedImage[]; readonly left: readonly string[] }> {
    const building = readdirSync(join(this.#dir, 'building'));
    const leaving = readdirSync(join(this.#dir, 'leaving'));
    const left = leaving.map((name) => `sha256:${name.slice(0, 64)}`);
    const images: ShelvedImage[] = [];
    for (const hex of readdirSync(join(this.#dir, 'images')).sort()) {
      signal.throwIfAborted();
      try {
        images.push(await this.#read(`sha256:${hex}`));
      } catch (error) {
        this.#logger.warn(
          { image: `sha256:${hex}`, err: error },
          'an image on the disk is not as it was left, and goes',
        );
        await rm(join(this.#dir, 'images', hex), { recursive: true, force: true });
      }
    }
    for (const name of building) await rm(join(this.#dir, 'building', name), { recursive: true, force: true });
    for (const name of leaving) await rm(join(this.#dir, 'leaving', name), { recursive: true, force: true });
    if (building.length + leaving.length > 0) {
      this.#logger.info(
        { building: building.length, leaving: leaving.length },
        'removed images that an earlier process left half done',
      );
    }
    return { images, left };
  }

  /** An empty folder to build an image in. */
  newFolder(): string {
    const folder = join(this.#dir, 'building', randomUUID());
    mkdirSync(folder, { mode: 0o700 });
    return folder;
  }

  async discard(folder: string): Promise<void> {
    await rm(folder, { recursive: true, force: true });
  }

  /** Puts an image that was built in `folder`/root on the shelf: on the disk whole, then by one rename. */
  async add(image: UnpackedImage, folder: string, signal: AbortSignal): Promise<UnpackedImage> {
    const { digest, sizeBytes, entries } = image;
    await writeFile(join(folder, 'image.json'), JSON.stringify({ format: 1, digest, sizeBytes, entries }), {
      mode: 0o600,
    });
    try {
      // One call for all files: after a power cut, a name without its bytes would pass for a whole image.
      await run('sync', ['-f', folder], { signal });
    } catch (error) {
      signal.throwIfAborted();
      this.#logger.warn({ err: error }, `an image is not surely on the disk: sync(1) failed: ${messageOf(error)}`);
    }
    const place = this.#place(digest);
    renameSync(folder, place);
    return { digest, sizeBytes, entries, folder: join(place, 'root') };
  }

  /** Keeps the time of the last use beyond this process. */
  touch(digest: string, wallMs: number): void {
    utimesSync(join(this.#place(digest), 'image.json'), wallMs / 1_000, wallMs / 1_000);
  }

  async remove(digest: string): Promise<void> {
    const leaving = join(this.#dir, 'leaving', `${hexOfDigest(digest)}.${randomUUID()}`);
    renameSync(this.#place(digest), leaving);
    await rm(leaving, { recursive: true, force: true });
  }

  [Symbol.dispose](): void {
    this.#release();
  }

  async #read(digest: string): Promise<ShelvedImage> {
    const place = this.#place(digest);
    const file = join(place, 'image.json');
    const { sizeBytes, entries, ...found } = shape.parse(JSON.parse(await readFile(file, 'utf8')));
    if (found.digest !== digest) throw new Error(`it says that it is ${found.digest}`);
    const folder = join(place, 'root');
    if (!statSync(folder).isDirectory()) throw new Error('it has no files');
    return { image: { digest, folder, entries, sizeBytes }, lastUsedMs: statSync(file).mtimeMs };
  }

  #place(digest: string): string {
    return join(this.#dir, 'images', hexOfDigest(digest));
  }
}
