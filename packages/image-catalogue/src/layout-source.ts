import { messageOf } from '@drover/lease-kit';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { hexOfDigest } from './image-digest.ts';
import { imageFault } from './image-fault.ts';
import type { ContentWanted, ImageContent, ImageSource } from './image-source.ts';

/** Where a layout is. */
export interface LayoutSourceOptions {
  /** With `oci-layout`, `index.json` and `blobs` in it; it may come later. */
  readonly folder: string;
}

/** Images of an OCI image layout (image-spec 1.1), by digest: every index and manifest among its blobs, named by `index.json` or not. */
export function createLayoutSource({ folder }: LayoutSourceOptions): ImageSource {
  return {
    name: `layout ${folder}`,
    async open({ digest }) {
      const blob = await stat(blobPath(folder, digest)).catch(undefinedIfAbsent);
      if (blob === undefined) return undefined;
      await checkLayout(folder);
      return new LayoutContent(folder);
    },
  };
}

class LayoutContent implements ImageContent {
  readonly form = 'manifest';
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async *read({ digest }: ContentWanted, fromByte: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const path = blobPath(this.#folder, digest);
    const found = await stat(path).catch(undefinedIfAbsent);
    if (found?.isFile() !== true)
      throw imageFault('IMAGE_NOT_FOUND', `the layout ${this.#folder} has no blob ${digest}`);
    yield* createReadStream(path, { start: fromByte, highWaterMark: 256 * 1024, signal });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Nothing is open between reads.
  }
}

async function checkLayout(folder: string): Promise<void> {
  let version: unknown;
  try {
    version = (JSON.parse(await readFile(join(folder, 'oci-layout'), 'utf8')) as { imageLayoutVersion?: unknown })
      .imageLayoutVersion;
  } catch (error) {
    throw imageFault(
      'IMAGE_INVALID',
      `${folder} is no image layout: oci-layout cannot be read: ${messageOf(error)}`,
      error,
    );
  }
  if (typeof version !== 'string' || !version.startsWith('1.')) {
    throw imageFault(
      'IMAGE_UNSUPPORTED',
      `the layout ${folder} has the version ${JSON.stringify(version)}; 1.0.0 is read`,
    );
  }
}

function blobPath(folder: string, digest: string): string {
  return join(folder, 'blobs', 'sha256', hexOfDigest(digest));
}

/** Undefined for a file that is not there; other errors are thrown again. */
function undefinedIfAbsent(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT' && (error as NodeJS.ErrnoException).code !== 'ENOTDIR')
    throw error;
}
