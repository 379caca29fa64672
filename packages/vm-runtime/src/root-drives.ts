import { randomUUID } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { makeRootDrive } from './root-drive.ts';
import type { PreparedImage, UnpackedImage } from './sandbox-image.ts';

/** The root drives that a driver of machines has made: one folder for each image, made whole or not at all. */
export class RootDrives {
  readonly #folder: string;
  readonly #driver: string;

  /** `driver`: the name that prepared images carry. */
  constructor(folder: string, driver: string) {
    this.#folder = folder;
    this.#driver = driver;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** See `SandboxDriver.prepareImage`. */
  async prepare(image: UnpackedImage, signal: AbortSignal): Promise<PreparedImage> {
    signal.throwIfAborted();
    const folder = this.folderOf(image.digest);
    const drive = join(folder, 'root.ext4');
    if (!existsSync(drive)) {
      const making = `${folder}.${randomUUID()}`;
      mkdirSync(making, { mode: 0o700 });
      try {
        await makeRootDrive(image, join(making, 'root.ext4'), signal);
        // Whoever runs the machine reads it, nobody writes it.
        chmodSync(join(making, 'root.ext4'), 0o444);
        renameSync(making, folder);
      } catch (error) {
        // Another call was quicker, or it failed.
        rmSync(making, { recursive: true, force: true });
        if (!existsSync(drive)) throw error;
      }
    }
    return { digest: image.digest, driver: this.#driver, sizeBytes: statSync(drive).size };
  }

  /** The drive of an image that was prepared; undefined if it was not, or by another driver. */
  driveOf({ digest, driver }: PreparedImage): string | undefined {
    const drive = join(this.folderOf(digest), 'root.ext4');
    return driver === this.#driver && existsSync(drive) ? drive : undefined;
  }

  /** The folder of an image, for what else is made of it: it goes with the drive. */
  folderOf(digest: string): string {
    return join(this.#folder, digest.replaceAll(/[^\w]/g, '-'));
  }

  /** Removes the drive of an image and all that stands beside it. */
  remove(digest: string): void {
    rmSync(this.folderOf(digest), { recursive: true, force: true });
  }
}
